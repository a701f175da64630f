%% As many gen_servers as children of one supervisor: started, asked one after the other, and stopped with it.
%% Prints, for each step, milliseconds of CPU of the whole runtime and microseconds of wall time, over all rounds.
-module(fleet).
-export([main/2, start_child/1, init/1, handle_call/3, handle_cast/2]).

main(Number, Rounds) ->
    process_flag(trap_exit, true),
    Specs = [#{id => Id, start => {?MODULE, start_child, [Id]}} || Id <- lists:seq(1, Number)],
    run(min(Number, 1000), lists:sublist(Specs, 1000), 1),
    erlang:garbage_collect(),
    Steps = run(Number, Specs, Rounds),
    [io:format("~s ~b ~b~n", [Step, Cpu, Wall]) || {Step, {Cpu, Wall}} <- Steps],
    halt().

run(Number, Specs, Rounds) ->
    Lives = [life(Number, Specs) || _ <- lists:seq(1, Rounds)],
    [{Step, lists:foldl(fun(Life, {Cpu, Wall}) ->
                                {C, W} = maps:get(Step, Life),
                                {Cpu + C, Wall + W}
                        end, {0, 0}, Lives)}
     || Step <- [start_all, health_check_all, stop_all]].

life(Number, Specs) ->
    {{ok, Supervisor}, Started} = taken(fun() -> supervisor:start_link(?MODULE, {children, Specs}) end),
    Children = [Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor)],
    Number = length(Children),
    {Answers, Asked} = taken(fun() -> [gen_server:call(Pid, health_check) || Pid <- Children] end),
    true = lists:all(fun(Answer) -> Answer =:= healthy end, Answers),
    {ok, Stopped} = taken(fun() ->
                                  exit(Supervisor, shutdown),
                                  receive {'EXIT', Supervisor, shutdown} -> ok end
                          end),
    false = lists:any(fun erlang:is_process_alive/1, Children),
    #{start_all => Started, health_check_all => Asked, stop_all => Stopped}.

taken(Do) ->
    {Cpu, _} = erlang:statistics(runtime),
    Begin = erlang:monotonic_time(microsecond),
    Result = Do(),
    Wall = erlang:monotonic_time(microsecond) - Begin,
    {Later, _} = erlang:statistics(runtime),
    {Result, {Later - Cpu, Wall}}.

start_child(Id) -> gen_server:start_link(?MODULE, {child, Id}, []).

init({children, Specs}) -> {ok, {#{strategy => one_for_one}, Specs}};
init({child, Id}) -> {ok, Id}.

handle_call(health_check, _From, State) -> {reply, healthy, State}.

handle_cast(_Message, State) -> {noreply, State}.
