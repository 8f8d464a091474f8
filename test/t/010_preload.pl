# CREATE EXTENSION without preloading says which line to add to which file, and that line works.
# Needs a server that is started with and without the library: pg_regress has only one.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = init_node('preload', conf => "shared_preload_libraries = 'auto_explain'\n");
$node->start;

my ($status, $output, $errors) =
  $node->psql('postgres', 'CREATE EXTENSION scoreboard CASCADE');
isnt($status, 0, 'CREATE EXTENSION fails without preloading');
like($errors, qr/must be loaded through shared_preload_libraries/, 'it says why');

my ($line, $file) = $errors =~ /HINT:.*"(shared_preload_libraries = [^"]*)" into (\S+) and restart/;
is($line, q{shared_preload_libraries = 'auto_explain,scoreboard'},
	'the line to add keeps what is preloaded already');
is($file, $node->data_dir . '/postgresql.conf', 'it names the file');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'scoreboard'}),
	0, 'nothing is left behind');

$node->append_conf('postgresql.conf', $line);
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION scoreboard CASCADE');
cmp_ok(wait_for_version($node, 'postgres', 'global', 1), '>', 0,
	'with that line, CREATE EXTENSION works and lists are published');

$node->stop;
done_testing();
