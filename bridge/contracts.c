/*
 * contracts.c - the contracts of the HTTP API and of the streams
 *
 * The files beside this one, taken in by the assembler as they are: whoever has
 * the program has the contract of that very program, byte by byte, with no
 * directory and no setting. Their paths are relative to where make runs.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "contracts.h"

#include <stdint.h>

extern const char contract_openapi[];
extern const uint64_t contract_openapi_length;
extern const char contract_asyncapi[];
extern const uint64_t contract_asyncapi_length;

#define EMBED(name, file) \
	__asm__(".pushsection .rodata\n" \
			".global " #name "\n" \
			#name ":\n" \
			".incbin \"" file "\"\n" \
			#name "_end:\n" \
			".balign 8\n" \
			".global " #name "_length\n" \
			#name "_length:\n" \
			".quad " #name "_end - " #name "\n" \
			".popsection\n")

EMBED(contract_openapi, "bridge/openapi.json");
EMBED(contract_asyncapi, "bridge/asyncapi.json");

Contract
contract(int number)
{
	if (number == 0)
		return (Contract) {"/openapi.json", contract_openapi, contract_openapi_length};
	return (Contract) {"/asyncapi.json", contract_asyncapi, contract_asyncapi_length};
}
