# A merged list comes to what its shards' lists say, whatever becomes of what brings them: rows and the table held by somebody on the
# hub, workers of the subscription cancelled, ended and killed, the hub killed, a subscription dropped and made anew, a timeout that is
# shorter than anything takes; a shard's board renamed, deleted and made again.
# Needs three servers and native logical replication.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $db = 'game';
my $settings = "wal_retrieve_retry_interval = 100ms\nrestart_after_crash = on\n";
my %node = map { $_ => new_node($_, streaming => 'logical', conf => $settings) } qw(hub europe asia);
foreach my $shard (qw(europe asia))
{
	create_database($node{$shard}, $db);
	$node{$shard}->safe_psql($db, qq{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('$shard', 10);
		CREATE PUBLICATION lists FOR TABLE scoreboard.top WHERE (board = '$shard') WITH (publish = 'insert, update, delete')});
}
create_database($node{hub}, $db);
sub hub { return $node{hub}->safe_psql($db, $_[0]); }
hub(q{INSERT INTO scoreboard.board (name, remote, publish_interval_ms) VALUES ('europe', true, 10), ('asia', true, 10);
	INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('here', 10);
	INSERT INTO scoreboard.board (name, merges, publish_interval_ms) SELECT 'world', array_agg(board_id), 10 FROM scoreboard.board WHERE name IN ('europe', 'asia', 'here')});
sub subscribe
{
	my ($shard) = @_;

	hub("CREATE SUBSCRIPTION $shard CONNECTION 'host=" . $node{$shard}->host . ' port=' . $node{$shard}->port . " dbname=$db' PUBLICATION lists WITH (slot_name = 'lists')");
	return;
}
subscribe($_) foreach qw(europe asia);

# Who plays where, with which score, as it shall be
my %score;

sub score
{
	my ($place, $user, $score) = @_;

	add_score($node{ $place eq 'here' ? 'hub' : $place }, $db, $place, $user, $score);
	$score{"$place $user"} = $score;
	return;
}

sub is_merged
{
	my ($what) = @_;
	my $list = join(', ', map { (split(/ /))[1] . " $score{$_}" } sort { $score{$b} <=> $score{$a} } keys %score);

	ok($node{hub}->poll_query_until($db, qq{SELECT coalesce(string_agg(concat_ws(' ', e ->> 'userId', e ->> 'score'), ', ' ORDER BY n), '') = '$list'
		FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n) WHERE t.board = 'world'}), $what)
	  or diag("not: $list");
	return;
}

my $next = 100;
sub move { score($_, substr($_, 0, 1), $next++) foreach @_; return; }

move(qw(europe asia here));
score('europe', 'both', 10);
score('asia', 'both', 11);
is_merged('lists from everywhere; who plays in two of them stands there twice');

# Somebody sits on the hub
my $holder = $node{hub}->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.top WHERE board = 'europe' FOR UPDATE});
move(qw(asia here));
is_merged('a list that is held keeps no other from being merged');
$holder->query_safe('COMMIT');
move('europe');
is_merged('and is when it is let go');
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.top WHERE board = 'world' FOR UPDATE});
move(qw(europe asia));
ok($node{hub}->poll_query_until($db, qq{SELECT count(*) = 2 FROM scoreboard.top WHERE board IN ('europe', 'asia') AND document ~ ANY (ARRAY['"score":} . ($next - 2) . q{\\M', '"score":} . ($next - 1) . q{\\M'])}), 'lists arrive while the merged one is held');
$holder->query_safe('COMMIT');
is_merged('and are merged when it is let go');
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.top');
move('europe');
$holder->query_safe('COMMIT');
$holder->quit;
is_merged('a locked table is waited for');

# The workers, and the hub
my $workers = q{FROM pg_stat_activity WHERE backend_type = 'logical replication worker'};
foreach my $end ('pg_cancel_backend', 'pg_terminate_backend')
{
	hub("SELECT $end(pid) $workers");
	move('europe');
	is_merged("$end of the workers");
}
wait_until($node{hub}, $db, "count(*) >= 2 $workers", 'the workers are back');
my $began = hub('SELECT pg_postmaster_start_time() || (SELECT min(backend_start)::text FROM pg_stat_activity WHERE backend_type = \'checkpointer\')');
kill 'KILL', hub("SELECT min(pid) $workers");
$node{hub}->poll_query_until($db, qq{SELECT pg_postmaster_start_time() || (SELECT min(backend_start)::text FROM pg_stat_activity WHERE backend_type = 'checkpointer') <> '$began'})
  or die 'the hub did not come back';
move('europe');
is_merged('a worker killed, and with it all sessions of the hub');
kill_and_start($node{hub});
move(qw(europe asia));
is_merged('the hub killed');

# The subscription
hub('DROP SUBSCRIPTION europe');
move('europe');
subscribe('europe');
is_merged('dropped, and made anew: the list of meanwhile is there');
hub("ALTER DATABASE $db SET statement_timeout = '1ms'");
{
	local $ENV{PGOPTIONS} = '-c statement_timeout=0';

	$node{hub}->restart;
	move(qw(europe asia here));
	is_merged('with a timeout that is too short for anything');
	hub("ALTER DATABASE $db RESET statement_timeout");
}

# A shard's board
$node{europe}->safe_psql($db, q{UPDATE scoreboard.board SET name = 'other' WHERE name = 'europe'});
my %before = %score;
delete $score{$_} foreach grep { /^europe / } keys %score;
is_merged('renamed: nobody of it is left');
$node{europe}->safe_psql($db, q{UPDATE scoreboard.board SET name = 'europe' WHERE name = 'other'});
%score = %before;
is_merged('and back: they are there again');
$node{europe}->safe_psql($db, q{DELETE FROM scoreboard.board WHERE name = 'europe'});
delete $score{$_} foreach grep { /^europe / } keys %score;
is_merged('deleted');
$node{europe}->safe_psql($db, q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('europe', 10)});
move('europe');
is_merged('and made again');

$_->stop foreach values %node;
done_testing();
