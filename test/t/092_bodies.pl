# Bodies of increments, spoiled in every way that leaves JSON: a batch answers each of them by itself, never with a defect of
# ours, and their neighbours are counted. What is counted is what was answered with 200.
# FUZZ_SECONDS says how long (2), FUZZ_SEED which ones; a failure names the body.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $seconds = $ENV{FUZZ_SECONDS} // 2;
my $seed = $ENV{FUZZ_SEED} // 20260101;
my $size = 20;    # of a batch: a good one and a spoiled one in turn
srand($seed);

my $node = new_node('bodies', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.receipt_window = 1h
EOT
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
$node->safe_psql('game', q{
	CREATE TABLE answer (batch int, ordinal int, status int, code text, replayed boolean);
	CREATE SEQUENCE number;
	-- Signed requests, each of a player of its own, as texts of their members.
	CREATE FUNCTION requests(wanted int) RETURNS SETOF text LANGUAGE sql AS $$
		SELECT json_build_object('actionType', 'SCORE_RUN', 'actionId', 'a-' || n, 'board', 'global', 'points', 7, 'issuedAt', now, 'idempotencyKey', 'key-' || n,
			'receipt', sign.receipt('p' || n, 'SCORE_RUN', 'a-' || n, points => 7, issued_at => now, subscore => 3, detail => 'build 7'), 'token', sign.token('p' || n),
			'subscore', 3, 'detail', 'build 7', 'metadata', json_build_object('level', 3), 'requestId', 'r-' || n, 'clientAddress', '203.0.113.9')::text
		FROM (SELECT nextval('number') AS n, sign.now() AS now FROM generate_series(1, wanted)) t $$;
});

my @values = (
	qw(0 -0 1 -1 1e1 1.0 0.5 1E400000 1e-400000 -1e1 500 501 -500 -501 9007199254740991 9007199254740992 -9007199254740992 9223372036854775807 9223372036854775808 true false null [] {} [7]),
	'1' x 400, '"' . 'x' x 255 . '"', '"' . 'x' x 256 . '"', '"' . "\xc3\xa9" x 255 . '"', '"' . 'x' x 70000 . '"',
	'""', '" "', '"\u0000"', '"a\u0000b"', '"\u0001"', '"\u007f"', '"\u0085"', '"\u2028"', '"\u202e"', '"\ud83c\udfc6"', '"\\\\"', '"\""', '"\/"', '"\n"',
	'"global"', '"GLOBAL"', '"no-such"', '"SCORE_RUN"', '"AWARD"', '"RETIRED"', '"COMPLETE_LEVEL"', '"\u0053CORE_RUN"', '"7"', '"v1:"', '"v1:game:' . '0' x 64 . '"',
	'"v1:game:' . '0' x 64 . ' v1:game:' . '0' x 64 . '"', '"eyJhbGciOiJub25lIn0.e30."', '{"a":1,"a":2}', '{"a":{"b":[{"c":1,"c":1}]}}', '{"a":"' . 'x' x 5000 . '"}',
	'[' x 31 . ']' x 31, '[' x 33 . ']' x 33, '[' x 2000 . ']' x 2000, '{"a":' x 40 . '1' . '}' x 40, '"::1"', '"999.1.1.1"', '"203.0.113.9, 10.0.0.1"', ' 7 ', "\t[\n]\r");
my @names = qw(actionType actionId board points issuedAt idempotencyKey receipt token subscore detail metadata requestId clientAddress);

sub one_of { return $_[int(rand(scalar @_))] }

# A member's name with its letters escaped is the same member.
sub spell
{
	my ($name) = @_;
	return '"' . join('', map { rand() < 0.3 ? sprintf('\u%04x', ord($_)) : $_ } split(//, $name)) . '"';
}

# Members stay in order, so that one may stand there twice.
sub spoil
{
	my ($body) = @_;
	my @members;
	push @members, [ $1, $2 ] while $body =~ /"(\w+)"\s*:\s*("(?:[^"\\]|\\.)*"|\{[^}]*\}|-?\d+)/g;

	for (1 .. 1 + int(rand(4)))
	{
		my $at = int(rand(scalar @members || 1));
		my $way = int(rand(6));
		if ($way == 0) { splice(@members, $at, 1) if @members }
		elsif ($way == 1) { push @members, [ one_of(@names), one_of(@values) ] }
		elsif ($way == 2) { splice(@members, $at, 0, [ one_of('x', '', 'ActionType', 'action_type', '__proto__'), one_of(@values) ]) }
		elsif (@members) { $members[$at][1] = one_of(@values) }
	}
	my $text = '{' . join(one_of(',', ' , ', ",\n"), map { (rand() < 0.1 ? spell($_->[0]) : qq("$_->[0]")) . one_of(':', ' : ') . $_->[1] } @members) . '}';
	return rand() < 0.05 ? one_of($text =~ /./ ? "[$text]" : '', '"text"', '7', 'null', '[]', "{\"body\":$text}") : $text;
}

sub requests { return split(/\n/, $node->safe_psql('game', "SELECT * FROM requests($_[0])")) }

my ($batches, $sent, %codes) = (0, 0);
my $end = time() + $seconds;
my @wrong;
while (!@wrong && ($batches < 20 || time() < $end))
{
	my @good = requests($size);
	my @bodies = map { $_ % 2 ? spoil($good[$_]) : $good[$_] } 0 .. $size - 1;
	my ($status, $out, $err) = $node->psql('game',
		"INSERT INTO answer SELECT $batches, ordinal, status, body->'error'->>'code', (body->>'replayed')::boolean FROM scoreboard_submit(\$body\$[" . join(',', @bodies) . "]\$body\$);\n"
		. "SELECT ordinal, status, coalesce(code, '-') FROM answer WHERE batch = $batches ORDER BY ordinal");
	my @rows = map { [ split(/\|/) ] } split(/\n/, $out);
	if ($status != 0 || @rows != $size)
	{
		@wrong = ("the batch failed: $err", @bodies);
		last;
	}
	for my $row (@rows)
	{
		my ($ordinal, $answer, $code) = @$row;
		$codes{$code}++ if $ordinal % 2 == 0;
		push @wrong, "$answer $code: " . substr($bodies[ $ordinal - 1 ], 0, 2000)
			if $ordinal % 2 ? $answer != 200 : $answer !~ /^(?:200|400|401|403|404|409|422)$/;
	}
	$batches++;
	$sent += $size;
}
is(join("\n", @wrong), '', "$sent bodies in $batches batches, seed $seed: each is answered, and its neighbours are counted");
note(join(', ', map { "$_ $codes{$_}" } sort keys %codes));
ok(($codes{'-'} // 0) > 0 && ($codes{INVALID_REQUEST} // 0) > 0 && ($codes{INVALID_SIGNATURE} // 0) > 0 && ($codes{UNAUTHORIZED} // 0) > 0, 'spoiled in ways that matter, and in some that do not');
is($node->safe_psql('game', "SELECT count(*) FROM scoreboard.action"), $node->safe_psql('game', "SELECT count(*) FROM answer WHERE status = 200 AND NOT replayed"), 'what is counted is what was answered');
is($node->safe_psql('game', "SELECT count(*) FROM scoreboard_verify('global')"), '0', 'and the scores agree with it');
$node->stop;
done_testing();
