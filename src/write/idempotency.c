/*
 * write/idempotency.c - was this action counted before, and may its answer be repeated
 *
 * An action is counted once per player, for ever. The same action_id with the
 * same idempotency key and the same content is a retry; everything else that
 * has the action_id is refused. Content is what was asked for: board, action
 * type, points, subscore, detail, metadata. Receipt, issued_at and token may differ, since a
 * client may have to sign again before it can ask again.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "write/idempotency.h"

static bool
same_metadata(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

static bool
same_number(bool given, int64 a, bool stored, int64 b)
{
	return given == stored && (!given || a == b);
}

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool
same_content(const Request *request, const Board *board, const ActionRule *rule, const LedgerAction *stored)
{
	return stored->board_id == board->board_id &&
		stored->action_type_id == rule->action_type_id &&
		same_number(request->has_points, request->points, stored->has_points, stored->points) &&
		same_number(request->has_subscore, request->subscore, stored->extras.subscore != NO_SUBSCORE, stored->extras.subscore) &&
		same_text(request->detail, stored->extras.detail) &&
		same_metadata(stored->metadata, request->metadata);
}

Novelty
idempotency_decide(const Request *request, const Board *board, const ActionRule *rule,
				   const LedgerAction *stored, Refusal *refusal)
{
	if (!stored->exists)
		return NOVELTY_NEW;

	if (request->idempotency_key == NULL || stored->idempotency_key == NULL ||
		strcmp(request->idempotency_key, stored->idempotency_key) != 0)
	{
		refuse(refusal, REFUSAL_DUPLICATE_ACTION,
			   "Every action needs an action id of its own; a retry repeats the idempotency key of the first attempt.",
			   "the action has been counted already");
		return NOVELTY_REFUSED;
	}
	if (!same_content(request, board, rule, stored))
	{
		refuse(refusal, REFUSAL_IDEMPOTENCY_MISMATCH,
			   "A retry must repeat board, action type, points, subscore, detail and metadata.",
			   "the idempotency key was used with another content");
		return NOVELTY_REFUSED;
	}
	return NOVELTY_RETRY;
}
