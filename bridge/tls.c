/*
 * tls.c - TLS on the sockets of clients, by OpenSSL
 *
 * Owns the context (certificate, key, what is spoken) and each connection's
 * state. A connection keeps the context it began with; a reload makes a new one
 * from the same files for those that come, and only if all of it is fine.
 *
 * tls_read() and tls_write() are recv() and send() for client.c. One record is
 * read at a time and nothing is read ahead, so that what has not been asked for
 * stays in the kernel, where epoll sees it; and the buffers of a connection
 * that is idle are given back.
 *
 * Sessions are resumed by tickets; nothing is kept here for them. Their keys
 * are the context's: a reload makes new ones. Workers begin with the context
 * that their supervisor has read; where all read it anew, the supervisor does so
 * first and puts its keys where they find them, so that a ticket of one is good
 * for the others.
 *
 * OpenSSL's queue of errors is shared with libpq's connections, so it is
 * emptied before each call whose outcome is asked for.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "log.h"
#include "shared.h"

/* Forward secrecy and authenticated encryption only; of TLS 1.3 all are like that. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

#define REASON_SIZE 512

struct Tls
{
	SSL		   *ssl;
	bool		begun;			/* the peer has sent something */
	bool		wants_to_write; /* a handshake or a read does */
	bool		established;
	bool		broken;			/* nothing may be asked of it any more */
};

#define TICKET_KEYS 80

typedef struct TlsContext
{
	SSL_CTX    *ctx;
	unsigned char *keys;		/* of tickets, in memory that workers share; NULL: there is only one */
} TlsContext;

/* ---- the certificate ---- */

/* What went wrong first is the reason; what follows tells only where it was noticed. */
static const char *
first_reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	if (code && ERR_SYSTEM_ERROR(code))
		return strerror(ERR_GET_REASON(code));
	return reason ? reason : "not understood";
}

/* A key behind a passphrase: there is nobody to ask. */
static int
no_passphrase(char *out, int size, int writing, void *data)
{
	(void) out;
	(void) size;
	(void) writing;
	*(bool *) data = true;
	return -1;
}

/* As Jan  1 00:00:00 2030 GMT */
static void
print_time(const ASN1_TIME *time, char *out, size_t size)
{
	BIO		   *memory = BIO_new(BIO_s_mem());
	int			n = 0;

	if (memory && ASN1_TIME_print(memory, time))
		n = BIO_read(memory, out, (int) size - 1);
	out[n > 0 ? n : 0] = '\0';
	BIO_free(memory);
}

static bool
check_dates(SSL_CTX *ctx, const char *file, char *reason, size_t size)
{
	const X509 *certificate = SSL_CTX_get0_certificate(ctx);
	char		time[64];

	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
	{
		print_time(X509_get0_notAfter(certificate), time, sizeof(time));
		snprintf(reason, size, "--tls-certificate: the certificate in \"%s\" has expired, at %s", file, time);
		return false;
	}
	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
	{
		print_time(X509_get0_notBefore(certificate), time, sizeof(time));
		snprintf(reason, size, "--tls-certificate: the certificate in \"%s\" is not valid before %s", file, time);
		return false;
	}
	return true;
}

static bool
is_mismatch(void)
{
	unsigned long code = ERR_peek_last_error();

	return ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
}

static bool
load_files(SSL_CTX *ctx, const Options *options, char *reason, size_t size)
{
	bool		passphrase = false;

	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, &passphrase);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, options->tls_certificate) != 1)
	{
		snprintf(reason, size, "--tls-certificate: no certificate can be read from \"%s\": %s", options->tls_certificate, first_reason());
		return false;
	}
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey_file(ctx, options->tls_key, SSL_FILETYPE_PEM) != 1 && !is_mismatch())
	{
		snprintf(reason, size, "--tls-key: no key can be read from \"%s\": %s", options->tls_key,
				 passphrase ? "it is encrypted, and there is nobody to ask for the passphrase" : first_reason());
		return false;
	}
	/* Of another kind than the certificate, it is noticed only here. */
	if (SSL_CTX_check_private_key(ctx) != 1)
	{
		snprintf(reason, size, "--tls-key: the key in \"%s\" does not belong to the first certificate in \"%s\"",
				 options->tls_key, options->tls_certificate);
		return false;
	}
	SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
	return check_dates(ctx, options->tls_certificate, reason, size);
}

/* ---- what is spoken ---- */

/* A client that names protocols and not ours would misunderstand us: it is told so. */
static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in, unsigned int length, void *data)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void) ssl;
	(void) data;
	if (SSL_select_next_proto((unsigned char **) out, out_length, ours, sizeof(ours) - 1, in, length) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* NULL with the reason. */
static SSL_CTX *
make_context(const Options *options, char *reason, size_t size)
{
	SSL_CTX    *ctx = SSL_CTX_new(TLS_server_method());

	snprintf(reason, size, "--tls-certificate: TLS cannot be set up");
	if (ctx == NULL)
		return NULL;
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1 ||
		!load_files(ctx, options, reason, size))
	{
		SSL_CTX_free(ctx);
		return NULL;
	}
	/* Chacha20 first for those who put it first: they have no instructions for AES. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	return ctx;
}

static void
log_certificate(const char *message, SSL_CTX *ctx)
{
	char		until[64];

	print_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)), until, sizeof(until));
	log_info(message, LOG_TEXT("until", until));
}

static void
share_keys(const TlsContext *tls)
{
	if (SSL_CTX_get_tlsext_ticket_keys(tls->ctx, tls->keys, TICKET_KEYS) != 1)
		abort();
}

bool
tls_start(Bridge *bridge)
{
	const Options *options = &bridge->options;
	char		reason[REASON_SIZE];
	SSL_CTX    *ctx;

	if (options->tls_certificate[0] == '\0' && options->tls_key[0] == '\0')
		return true;
	if (options->tls_certificate[0] == '\0' || options->tls_key[0] == '\0')
	{
		fprintf(stderr, "scoreboard-bridge: --tls-certificate and --tls-key are wanted both, or none\n");
		return false;
	}
	ctx = make_context(options, reason, sizeof(reason));
	if (ctx == NULL)
	{
		fprintf(stderr, "scoreboard-bridge: %s\n", reason);
		return false;
	}
	bridge->tls = calloc(1, sizeof(TlsContext));
	if (bridge->tls == NULL)
		abort();
	bridge->tls->ctx = ctx;
	if (options->workers > 1)
	{
		bridge->tls->keys = shared_alloc(TICKET_KEYS);
		share_keys(bridge->tls);
	}
	log_certificate("certificate read", ctx);
	return true;
}

void
tls_reload(Bridge *bridge)
{
	char		reason[REASON_SIZE];
	SSL_CTX    *ctx = make_context(&bridge->options, reason, sizeof(reason));

	if (ctx == NULL)
	{
		log_error("certificate not replaced", LOG_TEXT("reason", reason),
				  LOG_TEXT("advice", "the old one is kept: mend the files and send SIGHUP again, before it expires"));
		return;
	}
	SSL_CTX_free(bridge->tls->ctx);
	bridge->tls->ctx = ctx;
	if (bridge->worker == SUPERVISOR)
		share_keys(bridge->tls);
	else if (bridge->tls->keys)
		SSL_CTX_set_tlsext_ticket_keys(ctx, bridge->tls->keys, TICKET_KEYS);
	log_certificate("certificate replaced", ctx);
}

void
tls_free(Bridge *bridge)
{
	if (bridge->tls)
		SSL_CTX_free(bridge->tls->ctx);
	if (bridge->tls && bridge->tls->keys)
		shared_free(bridge->tls->keys, TICKET_KEYS);
	free(bridge->tls);
	bridge->tls = NULL;
}

bool
tls_is_spoken(const Bridge *bridge)
{
	return bridge->tls != NULL;
}

int64_t
tls_expires(const Bridge *bridge)
{
	const ASN1_TIME *end = X509_get0_notAfter(SSL_CTX_get0_certificate(bridge->tls->ctx));
	ASN1_TIME  *start = ASN1_TIME_set(NULL, 0);
	int			days = 0;
	int			seconds = 0;

	if (start)
		ASN1_TIME_diff(&days, &seconds, start, end);
	ASN1_TIME_free(start);
	return (int64_t) days * 86400 + seconds;
}

/* ---- a connection ---- */

Tls *
tls_new(Bridge *bridge, int fd)
{
	Tls		   *tls = calloc(1, sizeof(*tls));

	if (tls == NULL)
		return NULL;
	tls->ssl = SSL_new(bridge->tls->ctx);
	if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1)
	{
		tls_drop(tls);
		return NULL;
	}
	SSL_set_accept_state(tls->ssl);
	return tls;
}

/* -1 for a call that didn't go through, with errno; 0 for the peer's proper end. */
static ssize_t
outcome(Tls *tls, int error)
{
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = EAGAIN;
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
	{
		tls->broken = true;
		errno = ECONNRESET;
	}
	return -1;
}

static void
log_failure(const Tls *tls)
{
	log_debug("no handshake", LOG_TEXT("reason", tls->begun && ERR_peek_error() ? first_reason() : "the client has left"));
}

Handshake
tls_shake_hands(Tls *tls)
{
	char		first;
	int			result;
	int			error;

	/* A request in plain text can be told by its first letter. */
	if (!tls->begun && recv(SSL_get_fd(tls->ssl), &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
	{
		tls->begun = true;
		if (first >= 'A' && first <= 'Z')
			return HANDSHAKE_PLAIN;
	}
	ERR_clear_error();
	result = SSL_accept(tls->ssl);
	tls->established = result == 1;
	if (tls->established)
	{
		tls->wants_to_write = false;
		return HANDSHAKE_DONE;
	}
	error = SSL_get_error(tls->ssl, result);
	tls->wants_to_write = error == SSL_ERROR_WANT_WRITE;
	if (outcome(tls, error) < 0 && errno == EAGAIN)
		return HANDSHAKE_WAITS;
	log_failure(tls);
	return HANDSHAKE_FAILED;
}

bool
tls_is_resumed(const Tls *tls)
{
	return SSL_session_reused(tls->ssl) == 1;
}

ssize_t
tls_read(Tls *tls, void *bytes, size_t size)
{
	int			n;
	int			error;

	ERR_clear_error();
	n = SSL_read(tls->ssl, bytes, (int) size);
	error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, n);
	tls->wants_to_write = error == SSL_ERROR_WANT_WRITE;
	return n > 0 ? n : outcome(tls, error);
}

/*
 * Where a record is stuck, it has been encrypted already: the bytes that we told
 * the caller are left must be the first of the next call.
 */
ssize_t
tls_write(Tls *tls, const void *bytes, size_t length)
{
	size_t		sent = 0;
	size_t		n;
	int			error;

	while (sent < length)
	{
		ERR_clear_error();
		if (SSL_write_ex(tls->ssl, (const char *) bytes + sent, length - sent, &n) != 1)
		{
			/* Half a message of the protocol itself has come: nobody sends that who means well, and the rest may never come. */
			error = SSL_get_error(tls->ssl, 0);
			if (outcome(tls, error == SSL_ERROR_WANT_WRITE ? error : SSL_ERROR_SSL) < 0 && (errno != EAGAIN || sent == 0))
				return -1;
			break;
		}
		sent += n;
	}
	return (ssize_t) sent;
}

bool
tls_wants_to_write(const Tls *tls)
{
	return tls->wants_to_write;
}

void
tls_end(Tls *tls)
{
	if (!tls->established || tls->broken || tls->wants_to_write)
		return;
	ERR_clear_error();
	SSL_shutdown(tls->ssl);
}

void
tls_drop(Tls *tls)
{
	if (tls == NULL)
		return;
	SSL_free(tls->ssl);
	free(tls);
}
