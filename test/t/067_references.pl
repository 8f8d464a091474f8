# What an administrator does waits for no open transaction without a bound: not for a reference that it has used, not for another who moderates the same player or
# has locked its row, not for a season that has ended and that somebody else's moderation holds. Beside one that stays open, each is done
# within scoreboard.moderation_wait or UNAVAILABLE; once it has ended, the reference says what it always says.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# statement_timeout is the net under what waits: no answer depends on it.
my $patience = $PostgreSQL::Test::Utils::timeout_default;
my $node = new_node('references', conf => <<"EOT");
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.moderation_wait = 300ms
statement_timeout = '${patience}s'
EOT
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
sub sql { return $node->safe_psql('game', $_[0]); }
sub error_of { return ($node->psql('game', $_[0]))[2]; }
sub state_of { return sql(qq{SELECT state || CASE WHEN hidden THEN ' hidden' ELSE '' END FROM scoreboard.player WHERE user_id = '$_[0]'}); }

sub session
{
	my $session = $node->background_psql('game', on_error_stop => 0);

	$session->query($_[0]);
	return $session;
}

# Without statement and context, as everywhere: SQLSTATE and sentence.
sub error_code { return (error_of("\\set VERBOSITY verbose\n$_[0]") =~ /ERROR: +(\w+): +(.*)/) ? "$1 $2" : ''; }

sql(q{SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'first', points => n)) FROM generate_series(1, 9) n});

# The reference
my %changes = (
	freeze => q{scoreboard_freeze('p2', 'why', 'used')},
	ban => q{scoreboard_ban('p2', 'why', 'used')},
	hide => q{scoreboard_hide('p2', true, 'why', 'used')},
	restore => q{scoreboard_restore('p2', 'why', 'used')},
	adjust => q{scoreboard_adjust('p2', 'global', 1, 'why', 'used')},
	forget => q{scoreboard_forget('p2', 'erase', 'why', 'used')},
	retention => q{scoreboard_set_retention('30 days', reason => 'why', reference => 'used')});
foreach my $change (sort keys %changes)
{
	my $open = session(q{BEGIN; SELECT scoreboard_freeze('p1', 'why', 'used')});

	is(error_code("SELECT $changes{$change}"), 'PT503 an open transaction has just used the reference', "$change does not wait for ever for a reference");
	like(error_code("SET lock_timeout = '50ms'; SELECT $changes{$change}"), qr/^55P03 /, 'nor for longer than the caller wants');
	is(state_of('p2'), 'active', 'nothing is changed');
	$open->query_safe('COMMIT');
	is(error_code("SELECT $changes{$change}"), 'PT422 the reference was used for something else', 'then it is the other one\'s');
	$open->query_safe(q{BEGIN; DELETE FROM scoreboard.adjustment; UPDATE scoreboard.player SET state = 'active'; COMMIT});
	$open->quit;
}
my $open = session(q{BEGIN; SELECT scoreboard_freeze('p1', 'why', 'used')});
my $waiter = $node->background_psql('game', on_error_stop => 0);
$waiter->query_until(qr/go/, "SET scoreboard.moderation_wait = '10min';\n\\echo go\nSELECT scoreboard_ban('p2', 'why', 'used');\n");
wait_until($node, 'game', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid')}, 'somebody waits for the reference');
$open->query_safe('ROLLBACK');
$waiter->quit;
is(state_of('p1') . ' ' . state_of('p2'), 'active banned', 'of one that is rolled back it is free');
sql(q{SELECT scoreboard_restore('p2')});

# Who moderates the same player, and who has locked its row
foreach my $statement (q{SELECT scoreboard_ban('p3')}, q{SELECT FROM scoreboard.player WHERE user_id = 'p3' FOR UPDATE}, q{UPDATE scoreboard.player SET flagged = NOT flagged WHERE user_id = 'p3'})
{
	$open->query_safe("BEGIN; $statement");
	foreach my $change (q{scoreboard_freeze('p3')}, q{scoreboard_adjust('p3', 'global', 1, 'why', 'other')}, q{scoreboard_forget('p3')})
	{
		is(error_code("SELECT $change"), 'PT503 an open transaction that moderates, or has locked the row, holds up player "p3"', "$change beside $statement");
	}
	$open->query_safe('ROLLBACK');
	is(state_of('p3'), 'active', 'nothing is changed');
}
sql(q{SELECT scoreboard_freeze('p3')});
is(state_of('p3'), 'frozen', 'and then it is');

# A season that has ended: who chooses for itself, or moderates, holds its row.
sql(q{INSERT INTO scoreboard.board (name, period) VALUES ('runs', 'reset')});
sql(q{SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'run', 'runs', points => n)) FROM generate_series(4, 9) n});
sql(q{SELECT scoreboard_reset_season('runs')});
wait_until($node, 'game', q{(SELECT final FROM scoreboard.season WHERE season = 1)}, 'its document is final');
my $n = 4;
foreach my $change ([ 'ban', 'banned' ], [ 'hide', 'active hidden' ], [ 'forget', '' ])
{
	my $holder = session(q{BEGIN; SELECT scoreboard_set_listed(false, token => sign.token('p9'))});
	my $from = -s $node->logfile;

	$n++;
	sql("SELECT scoreboard_$change->[0]('p$n')");
	is(state_of("p$n"), $change->[1], "$change->[0] takes effect, whoever holds a season that has ended");
	like(substr(slurp_file($node->logfile), $from), qr/scoreboard ended the session.*\n.*It held up a season that has ended for longer than scoreboard.moderation_wait/, 'and the log says whom it ended');
	eval { $holder->quit };
	wait_until($node, 'game', qq{(SELECT final AND document NOT LIKE '%"p$n"%' FROM scoreboard.season WHERE season = 1)}, 'its document says so');
}
$open->query_safe(q{BEGIN; SELECT scoreboard_hide('p8')});
is(error_code(q{SET scoreboard.moderation_wait = '10ms'; SELECT scoreboard_set_listed(false, token => sign.token('p9'))}), 'PT503 an open transaction holds up a season that has ended',
	'who chooses for itself ends nobody');
$open->query_safe('COMMIT');
is(state_of('p8'), 'active hidden', 'who is let go on');
$open->quit;
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nothing differs');
$node->stop;
done_testing();
