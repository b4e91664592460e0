/* slots.pml - slots, generations and cancel words of one session, with the client's store buffer.
 *
 * A client with one slot (all calls must share it) makes CALLS calls in turn; each may be asked to
 * stop while the client believes it in flight. The bridge pops a call, performs it in steps, looks
 * at the cancel word between them, and completes it. The cancel word is written by the client alone.
 *
 * No call is ever stopped that nobody asked to stop; every call is completed once, by its own
 * completion; the slot's next call reads no progress of the one before.
 */
#define CALLS 3

#define NONE 0
#define CANCEL_FLAG 1       /* the word is a yes, which whoever completes the call takes back */
#define EARLY_REUSE 2       /* the slot is free as soon as the call is asked to stop */
#define NO_GENERATION 3     /* EARLY_REUSE, and a completion is known by its slot alone */
#define PROGRESS_AFTER 4    /* progress is set back after the completion is shown */
#ifndef FLAW
#define FLAW NONE
#endif

byte cancel;                    /* memory: the generation that should stop */
byte progress;                  /* memory: the bridge's word for this slot */
chan calls = [CALLS] of { byte };       /* the ring: generation */
chan completions = [CALLS] of { byte, bit }; /* generation; 1: it was stopped */
chan buffer = [2] of { byte };  /* the client's stores to cancel */
bool asked[CALLS + 1];
byte done;

active proctype memory() { end: do :: atomic { nempty(buffer) -> buffer ? cancel } od }

active proctype client()
{
    byte generation, whose;
    bit stopped;
    bool in_use;
    do
    :: generation < CALLS && !in_use ->
        atomic { generation++; in_use = true };
        /* pushing is a seq_cst store: what was buffered is in memory before it is seen */
        empty(buffer);
        /* the slot is ours, and nobody works for it: its progress reads as none */
        assert(FLAW == EARLY_REUSE || FLAW == NO_GENERATION || progress == 0);
        calls ! generation
    :: in_use && !asked[generation] ->
        atomic { asked[generation] = true; buffer ! (FLAW == CANCEL_FLAG -> 1 : generation) };
        if
        :: FLAW == EARLY_REUSE || FLAW == NO_GENERATION -> in_use = false
        :: else
        fi
    :: nempty(completions) ->
        completions ? whose, stopped;
        /* check_completion(): a call in flight, and its generation, or the session is given up */
        assert(in_use && (whose == generation || FLAW == NO_GENERATION));
        /* the answer goes to the call that holds the slot: it must be its own */
        assert(whose == generation);
        assert(!stopped || asked[whose]);
        atomic { in_use = false; done++; whose = 0; stopped = 0 }
    :: generation == CALLS && !in_use && empty(completions) -> break
    od;
    assert(done == CALLS)
}

#define WISHED (cancel == (FLAW == CANCEL_FLAG -> 1 : generation))

active proctype bridge()
{
    byte generation;
    bit stopped;
end:
    do
    :: calls ? generation ->
        stopped = 0;
        if /* on pop */
        :: WISHED -> stopped = 1
        :: else ->
            progress = 1;
            if /* td_cancelled() */
            :: WISHED -> stopped = 1
            :: else -> progress = 2
            fi
        fi;
        if
        :: FLAW == CANCEL_FLAG -> cancel = 0
        :: else
        fi;
        if
        :: FLAW != PROGRESS_AFTER -> progress = 0; completions ! generation, stopped
        :: else -> completions ! generation, stopped; progress = 0
        fi;
        atomic { generation = 0; stopped = 0 }
    od
}
