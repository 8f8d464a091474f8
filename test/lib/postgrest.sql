\set ECHO none
-- One request as PostgREST carries it out: :method /rpc/:function of :role, with :claims, :headers and :body. Prints the body that it would
-- answer, without what differs from run to run, or the error that it would translate.
SELECT sign.rpc(:'function', :'body') AS call, CASE WHEN :'method' IN ('GET', 'HEAD') OR p.provolatile <> 'v' THEN 'ONLY' ELSE 'WRITE' END AS access
    FROM pg_proc p WHERE p.proname = :'function' AND p.pronamespace = 'public'::regnamespace \gset
BEGIN ISOLATION LEVEL READ COMMITTED READ :access;
SELECT set_config('search_path', '"public", "public"', true), set_config('role', :'role', true), set_config('request.jwt.claims', :'claims', true),
    set_config('request.method', :'method', true), set_config('request.path', '/rpc/' || :'function', true),
    set_config('request.headers', :'headers', true), set_config('request.cookies', '{}', true) \g /dev/null
SELECT format('%s %s => %s', :'method', :'function', sign.answer(:'call')) AS answer \gset
COMMIT;
\echo :answer
\set ECHO all
