# Part `trust`: what each check costs an increment, beside one by a trusted server that passes none, and beside the floor. Sourced by test/bench/run.
#
# A check is measured by itself where it can be: a trusted server submits receipts, session keys' receipts and grants too. Tokens come
# with a receipt, so their base is the receipt. Whoever acts in turn with 20,000 others brings a token that its backend doesn't remember (1,024);
# "again" is the same with few players for each client, beside receipts of as few.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # what the other files read and write; the keys of ACKNOWLEDGED are words

TRUST_POOL=20000
TRUST_FEW=250
TRUST_WHY=

# measure_trust SCRIPT TYPE ALGORITHM FEW CLIENTS DATABASE SECONDS
measure_trust()
{
	local script=$1 type=$2 algorithm=$3 few=$4 clients=$5 database=$6 seconds=$7 set=keys count

	count=$(calculate "int($EXPECTED * ($WARM_UP + $seconds + 1) * 1.6 + 50 * $clients + 200)")
	FIRST=$((${SIGNED[$database]:-0} + 1))
	LAST=$((FIRST + count - 1))
	SIGNED["$database"]=$LAST
	[ "$algorithm" != HS256 ] || set=secrets
	trust_keys "$database" "$WORK/$set" &&
		sql "$database" -c "CALL bench.prepare($FIRST, $LAST, '$type', '$algorithm', $TRUST_POOL, $clients, $few)" -c 'VACUUM ANALYZE bench.request' >/dev/null || return
	if ! pgbench_run "$database" bench_gateway "$clients" "$seconds" "$script" -D type="$type" -D k=-1 -D clients="$clients" -D first="$FIRST"
	then
		given_up scoreboard "$database"
		return
	fi
	# A client that has none left does nothing: then this says only that it is faster than was expected.
	if [ "$DONE" -gt $((count * 4 / 5)) ]
	then
		ACKNOWLEDGED[scoreboard:$database]=$(sql "$database" -c 'SELECT count(*) FROM scoreboard.action')
		EXPECTED=$(calculate "$EXPECTED * 3")
		measure_trust "$@"
		return
	fi
	! check scoreboard "$database" "$DONE" || VALUE=$TPS
}

measure_trust_floor() { measure_floor "$@"; }
measure_trusted() { measure_trust award AWARD none 0 "$@"; }
measure_extras() { measure_trust extras AWARD none 0 "$@"; }
measure_hourly() { measure_trust award HOURLY none 0 "$@"; }
measure_daily() { measure_trust award DAILY none 0 "$@"; }
measure_grant() { measure_trust award GIFT none 0 "$@"; }
measure_receipt() { measure_trust signed HIT none 0 "$@"; }
measure_session() { measure_trust signed STEP none 0 "$@"; }
measure_hs256() { measure_trust increment HIT HS256 0 "$@"; }
measure_rs256() { measure_trust increment HIT RS256 0 "$@"; }
measure_ps256() { measure_trust increment HIT PS256 0 "$@"; }
measure_es256() { measure_trust increment HIT ES256 0 "$@"; }
measure_receipt_few() { measure_trust signed_few HIT none $TRUST_FEW "$@"; }
measure_hs256_few() { measure_trust increment_few HIT HS256 $TRUST_FEW "$@"; }
measure_rs256_few() { measure_trust increment_few HIT RS256 $TRUST_FEW "$@"; }
measure_ps256_few() { measure_trust increment_few HIT PS256 $TRUST_FEW "$@"; }
measure_es256_few() { measure_trust increment_few HIT ES256 $TRUST_FEW "$@"; }

# make_trust DATABASE
make_trust()
{
	step "tokens of $TRUST_POOL players" "$WORK/tokens" node "$BENCH/tokens.mjs" $TRUST_POOL "$WORK/secrets" "$WORK/keys" &&
		sql "$1" -v pool=$TRUST_POOL -f "$BENCH/trust.sql" >"$WORK/logs/trust" 2>&1 &&
		sql "$1" -c 'COPY bench.token FROM STDIN' -c 'ANALYZE bench.token, bench.device' <"$WORK/tokens"
}

# trust_keys DATABASE FILE
trust_keys()
{
	sql "$1" -v set="$(cat "$2")" <<<"SELECT scoreboard_set_issuer('https://id.bench.example', :'set', max_lifetime => '1 day')" >/dev/null
}

# The keys that the other parts' tokens are signed with are those of the issuer again afterwards.
bench_trust()
{
	local clients database=players_$MAIN keys what

	if ! command -v node >/dev/null
	then
		TRUST_WHY='no nodejs installed: nothing signs the tokens'
	elif [ "$MAIN" -lt $TRUST_POOL ]
	then
		TRUST_WHY="fewer than $TRUST_POOL players: tokens would be remembered"
	fi
	[ -z "$TRUST_WHY" ] || { say "trust: $TRUST_WHY"; return; }
	if ! make_trust "$database"
	then
		TRUST_WHY='tokens and keys could not be made'
		show_log "$WORK/logs/trust"
		return
	fi
	for clients in 1 8
	do
		keys=()
		for what in trust_floor trusted extras hourly daily grant receipt session hs256 rs256 ps256 es256 {receipt,hs256,rs256,ps256,es256}_few
		do
			keys+=("$what:$clients:$database")
		done
		rounds "${keys[@]}"
	done
	trust_keys "$database" "$WORK/secrets"
}
