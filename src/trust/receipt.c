/*
 * trust/receipt.c - did the action really happen: HMAC receipts (SPEC section 3, step 4)
 *
 * How receipts are written and what they sign is plain C (plain/receipt_form.c). Here
 * stands what needs the server: keys, the audience, and pgcrypto's hmac().
 *
 * hmac() is found as a member of extension pgcrypto, never by name through
 * search_path, and must be written in C: whoever owns the extension could
 * otherwise put a function of the same name there that says yes to everything.
 * It is looked up once; any change of its pg_proc row has it looked up again.
 *
 * Each verification works in a memory context of its own, so that a batch of a
 * thousand doesn't pile up digests. No locks. A refusal doesn't tell an unknown key from a wrong signature.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "scoreboard.h"
#include "base/config_cache.h"
#include "plain/receipt_form.h"
#include "trust/receipt.h"
#include "trust/session_key.h"

static const char *const service_hint = "The service that saw the action signs it; the README says which bytes, and has examples.";
static const char *const session_hint = "The player's own session key signs it; the README says which bytes, and has examples.";

StaticAssertDecl(RECEIPT_KEY_ID_MAX == SCOREBOARD_NAME_MAX, "key ids have one length");
StaticAssertDecl(RECEIPT_SIGNED_MAX >= 8 * SCOREBOARD_ID_MAX + 4 * SCOREBOARD_NAME_MAX + 192,
				 "two ids of four bytes a character, four names, numbers, a digest and line feeds fit");

static MemoryContext hmac_context = NULL;	/* what fmgr keeps about hmac() */
static FmgrInfo hmac_function;
static bool hmac_known = false; /* hmac_function is valid */
static uint32 hmac_hash;		/* its syscache hash, by which its invalidation is known */

/* ---------- pgcrypto's hmac() ---------- */

/* Called whenever rows of pg_proc changed: sets a flag, nothing else is allowed here. */
static void
forget_hmac(Datum argument, int cache_id, uint32 hash)
{
	if (hash == 0 || hash == hmac_hash)
		hmac_known = false;
}

void
receipt_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, forget_hmac, (Datum) 0);
}

/* Is it hmac(bytea, bytea, text) returns bytea, in C? */
static bool
is_hmac(Oid function)
{
	static const Oid wanted[] = {BYTEAOID, BYTEAOID, TEXTOID};
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		matches;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	matches = strcmp(NameStr(form->proname), "hmac") == 0 &&
		form->prolang == ClanguageId &&
		form->prorettype == BYTEAOID && !form->proretset &&
		form->pronargs == lengthof(wanted) &&
		memcmp(form->proargtypes.values, wanted, sizeof(wanted)) == 0;
	ReleaseSysCache(tuple);
	return matches;
}

/* The member of that extension, or InvalidOid. */
static Oid
hmac_of_extension(Oid extension)
{
	Oid			found = InvalidOid;
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, key);
	while (!OidIsValid(found) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->classid == ProcedureRelationId &&
			row->deptype == DEPENDENCY_EXTENSION && is_hmac(row->objid))
			found = row->objid;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

static void
find_hmac(void)
{
	Oid			extension;
	Oid			function = InvalidOid;

	/* fmgr sets fn_oid last: had it raised, the function would not be valid. */
	if (hmac_known && OidIsValid(hmac_function.fn_oid))
		return;
	extension = get_extension_oid("pgcrypto", true);
	if (OidIsValid(extension))
		function = hmac_of_extension(extension);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("receipts can't be verified without extension pgcrypto"),
				 errdetail("Its function hmac(bytea, bytea, text) was not found."),
				 errhint("CREATE EXTENSION pgcrypto in this database.")));

	if (hmac_context == NULL)
		hmac_context = AllocSetContextCreate(TopMemoryContext, "scoreboard hmac",
											 ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(hmac_context);
	hmac_hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	hmac_known = true;			/* before the last look-up: an invalidation in it counts */
	fmgr_info_cxt(function, &hmac_function, hmac_context);
}

static Datum
bytes_datum(const char *bytes, size_t length)
{
	bytea	   *value = palloc(VARHDRSZ + length);

	SET_VARSIZE(value, VARHDRSZ + length);
	memcpy(VARDATA(value), bytes, length);
	return PointerGetDatum(value);
}

void
receipt_mac(const char *bytes, size_t length, const char *key, size_t key_length, unsigned char *mac)
{
	bytea	   *made;

	find_hmac();
	made = DatumGetByteaPP(FunctionCall3(&hmac_function, bytes_datum(bytes, length), bytes_datum(key, key_length),
										 CStringGetTextDatum("sha256")));
	if (VARSIZE_ANY_EXHDR(made) != RECEIPT_MAC_BYTES)
		elog(ERROR, "hmac() returned %d bytes", (int) VARSIZE_ANY_EXHDR(made));
	memcpy(mac, VARDATA_ANY(made), RECEIPT_MAC_BYTES);
}

bool
receipt_mac_matches(const char *bytes, size_t length, const char *key, size_t key_length, const unsigned char *mac)
{
	unsigned char made[RECEIPT_MAC_BYTES];

	receipt_mac(bytes, length, key, key_length, made);
	return CRYPTO_memcmp(made, mac, RECEIPT_MAC_BYTES) == 0;
}

/* ---------- receipts ---------- */

const char *
receipt_audience(void)
{
	const char *audience = scoreboard_audience;

	if (audience == NULL || audience[0] == '\0')
		audience = get_database_name(MyDatabaseId);
	if (audience == NULL || !receipt_form_audience(audience))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audience of receipts must be 1 to 63 visible ASCII characters"),
				 errdetail("Where scoreboard.audience is empty, the database's name is the audience."),
				 errhint("ALTER DATABASE ... SET scoreboard.audience = 'name'; services sign with the same name.")));
	return audience;
}

/* A key may be limited to boards and action types; NIL is no limit. */
static bool
key_covers(const SigningKey *key, const Board *board, const ActionRule *rule)
{
	return (key->board_ids == NIL || list_member_int(key->board_ids, board->board_id)) &&
		(key->action_type_ids == NIL ||
		 list_member_int(key->action_type_ids, rule->action_type_id));
}

static size_t
write_signed(const ReceiptSubject *subject, char bytes[RECEIPT_SIGNED_MAX])
{
	ReceiptFields fields = {
		.audience = receipt_audience(),
		.board = subject->board,
		.user_id = subject->user_id,
		.action_type = subject->action_type,
		.action_id = subject->action_id,
		.has_points = subject->has_points,
		.points = subject->points,
		.has_subscore = subject->has_subscore,
		.subscore = subject->subscore,
		.detail = subject->detail,
		.issued_at = subject->issued_at,
	};
	size_t		length = receipt_form_write(&fields, bytes);

	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("the bytes that a receipt signs could not be written")));
	return length;
}

const SigningKey *
receipt_key(const char *key_id, const char *user_id, const Board *board, const ActionRule *rule, SigningKey *room)
{
	const SigningKey *key;

	if (rule->proof == PROOF_SESSION)
		return session_key_find(key_id, user_id, room) ? room : NULL;
	key = config_signing_key(key_id);
	return key && key_covers(key, board, rule) ? key : NULL;
}

bool
receipt_key_is_valid(const SigningKey *key, TimestampTz now)
{
	return !key->revoked && now >= key->valid_from && now < key->valid_until;
}

/*
 * The first part that verifies by a key that is valid now says which key. Where there is none, the first that verifies at
 * all: a retry is answered whatever has become of the key since. NULL where no part verifies.
 */
static const ReceiptPart *
find_signer(const ReceiptPart *parts, int count, const ReceiptSubject *subject,
			const Board *board, const ActionRule *rule)
{
	char		bytes[RECEIPT_SIGNED_MAX];
	size_t		length = write_signed(subject, bytes);
	TimestampTz now = GetCurrentTimestamp();
	const ReceiptPart *first = NULL;

	for (int i = 0; i < count; i++)
	{
		SigningKey	room;
		const SigningKey *key = receipt_key(parts[i].key_id, subject->user_id, board, rule, &room);

		if (key == NULL || !receipt_mac_matches(bytes, length, key->secret, strlen(key->secret), parts[i].mac))
			continue;
		if (receipt_key_is_valid(key, now))
			return &parts[i];
		if (first == NULL)
			first = &parts[i];
	}
	return first;
}

bool
receipt_verify(const char *receipt, const ReceiptSubject *subject, const Board *board, const ActionRule *rule,
			   char key_id[SCOREBOARD_NAME_MAX + 1], Refusal *refusal)
{
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	const ReceiptPart *signer;
	const char *hint = rule->proof == PROOF_SESSION ? session_hint : service_hint;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work;
	int			count;

	if (receipt == NULL)
		return refuse(refusal, REFUSAL_INVALID_SIGNATURE, hint,
					  "the action needs a receipt");
	count = receipt_form_read(receipt, parts);
	if (count == 0)
		return refuse(refusal, REFUSAL_INVALID_SIGNATURE, hint,
					  "the receipt is ill-formed: it is v1:<key id>:<64 lower-case hex digits>, at most 4 of them with one space between");

	work = AllocSetContextCreate(caller, "scoreboard receipt", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(work);
	signer = find_signer(parts, count, subject, board, rule);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	if (signer == NULL)
		return refuse(refusal, REFUSAL_INVALID_SIGNATURE, hint,
					  "the receipt's signature is wrong for this action");
	strlcpy(key_id, signer->key_id, SCOREBOARD_NAME_MAX + 1);
	return true;
}
