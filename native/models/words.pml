/* words.pml - two words that belong together, and two sides that ask each other, without a ring.
 *
 * Part PAIR: a writer stores a value, then a mark; who sees the mark sees the value, or a later one.
 * So it is with progress (total, then done), with a program's mark of what has started, and with a
 * host's watcher (deadline, then call).
 *
 * Part STOP: a signal handler notes that a stop is wanted and looks for an agent to stop; meanwhile
 * td_agent_main() shows the agent and looks whether a stop is wanted. One of them must see the
 * other, whichever thread the signal came to.
 *
 * Memory: stores wait in a buffer; a seq_cst load waits until the seq_cst stores before it are
 * out, as in doorbell.pml. Released stores leave in order; a relaxed one may pass.
 */
#define NONE 0
#define MARK_STORE 1   /* PAIR: the mark is stored relaxed */
#define MARK_LOAD 2    /* PAIR: the mark is loaded relaxed: the value may be loaded before it */
#define WANTED_STORE 3 /* STOP: on_signal() stores with release only */
#define AGENT_LOAD 4   /* STOP: on_signal() loads with acquire only */
#define AGENT_STORE 5  /* STOP: td_agent_main() stores with release only */
#define WANTED_LOAD 6  /* STOP: td_agent_main() loads with acquire only */
#ifndef FLAW
#define FLAW NONE
#endif

#ifndef STOP

#define ROUNDS 3
byte value, mark;
chan values = [1] of { byte };
chan marks = [1] of { byte };

active proctype memory()
{
end:
    do
    :: atomic { nempty(values) -> values ? value }
    :: atomic { nempty(marks) && (FLAW == MARK_STORE || empty(values)) -> marks ? mark }
    od
}

active proctype writer()
{
    byte i;
    do
    :: i == ROUNDS -> break
    :: i < ROUNDS ->
        i++;
        (empty(marks)); /* the buffer has room */
        values ! i;
        marks ! i
    od
}

active proctype reader()
{
    byte seen_mark, seen_value;
    if
    :: FLAW == MARK_LOAD -> seen_value = value; seen_mark = mark
    :: seen_mark = mark; seen_value = value
    fi;
    assert(seen_value >= seen_mark)
}

#else

bit wanted, agent; /* memory */
bit of_handler, of_main; /* the two buffers: a store that has not reached memory */
bit stopped, handled, shown;

active proctype memory()
{
end:
    do
    :: atomic { of_handler -> of_handler = 0; wanted = 1 }
    :: atomic { of_main -> of_main = 0; agent = 1 }
    od
}

active proctype handler()
{
    bit seen;
    of_handler = 1;
    /* a load waits for its side's store only when both are seq_cst */
    atomic { (!of_handler || FLAW == WANTED_STORE || FLAW == AGENT_LOAD) -> seen = agent }
    if
    :: seen -> stopped = 1
    :: else
    fi;
    handled = 1
}

active proctype main_thread()
{
    bit seen;
    of_main = 1;
    atomic { (!of_main || FLAW == AGENT_STORE || FLAW == WANTED_LOAD) -> seen = wanted }
    if
    :: seen -> stopped = 1
    :: else
    fi;
    (handled);
    assert(stopped)
}

#endif
