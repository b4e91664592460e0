/* look.pml - looks that arm the doorbell and looks that do not; calls that are held back.
 *
 * Part LOOK: the session of an event loop (layers/native/session.py over drain.c). The bridge sends
 * answers, and events that nobody asked for, at any time. The loop looks when the pipe is readable
 * (a drain, which arms) and by call_soon: a poll, which spares the bridge the ringing, while it
 * spins for an answer, else a drain. Whatever comes is heard: a loop that has nothing scheduled,
 * while frames lie there and nobody will ring, never goes on, which the search reports.
 *
 * Part HOLD: tdi_client_hold and _show. Calls are pushed and not shown; the next look shows them, a
 * full ring shows them by itself, since only what is shown can make room. Every call is answered.
 *
 * All accesses are one after the other here: the orders are doorbell.pml's business. So is the
 * ticket's number: that it is odd, and that nobody has rung for it yet, are two bits here.
 */
#define NONE 0
#define POLL_IS_LAST 1  /* LOOK: a look that does not arm may be the last one, once all is answered */
#define ARM_UNSEEN 2    /* LOOK: no look at the ring after arming */
#define MORE_FORGOTTEN 3 /* LOOK: what a look left behind does not bring the next look */
#define BEGIN_UNARMED 4 /* LOOK: no first look when the session begins */
#define PIPE_LAST 5     /* LOOK: a look arms first and empties the pipe at its end */
#define FULL_KEEPS 6    /* HOLD: a full ring does not show what is held */
#define SHOW_SILENT 7   /* HOLD: showing does not ring */
#define LOOK_KEEPS 8    /* HOLD: a look does not show what is held */
#ifndef FLAW
#define FLAW NONE
#endif

#ifndef HOLD

#define CALLS 2
#define EVENTS 1
#define ANSWER 1
#define EVENT 0
chan ring = [CALLS + EVENTS] of { bit };
bit fresh; /* our ticket is odd, and nobody has rung for it */
byte pipe, asked, heard, answered;
byte calls; /* that somebody will ask for */
bool chosen;

active proctype bridge()
{
    byte events, answers;
    bit kind, seen;
    (chosen);
    do
    :: events < EVENTS -> events++; kind = EVENT; goto send
    :: answers < asked -> answers++; kind = ANSWER; goto send
    :: events == EVENTS && answers == calls -> break
    send:
        ring ! kind;
        atomic { seen = fresh; fresh = 0 }
        if
        :: seen -> seen = 0; pipe = 1
        :: else
        fi
    od
}

bool soon; /* a look is scheduled by call_soon */
bool armed; /* our ticket is odd */

inline take(arms)
{
    if
    :: armed ->
        atomic { armed = false; fresh = 0 }
        if
        :: FLAW != PIPE_LAST -> pipe = 0
        :: else
        fi
    :: else
    fi;
    came = false;
    do
    :: nempty(ring) ->
        ring ? what;
        heard++;
        answered = answered + what;
        came = came || what == ANSWER /* an event makes no row */
    :: empty(ring) -> break
    :: came -> break /* at most so many completions in one look */
    od;
    more = nempty(ring);
    if
    :: arms && !more ->
        atomic { armed = true; fresh = 1 }
        if
        :: FLAW == PIPE_LAST -> pipe = 0
        :: else
        fi;
        if
        :: FLAW != ARM_UNSEEN -> more = nempty(ring)
        :: else
        fi
    :: else
    fi;
    if
    :: (more && FLAW != MORE_FORGOTTEN) || (!arms && FLAW != POLL_IS_LAST) ||
           (asked > answered && (came || FLAW == POLL_IS_LAST)) ->
        soon = true
    :: else
    fi;
    came = false; more = false; what = 0
}

active proctype loop()
{
    bool came, more, again;
    bit what;
    atomic { select(calls : 0 .. CALLS); chosen = true };
    soon = (FLAW != BEGIN_UNARMED);
    do
    :: asked < calls -> atomic { asked++; soon = true }
    :: soon ->
        soon = false;
        if
        :: asked > answered -> again = true /* it spins */
        :: again = false                    /* for long enough, or for nobody */
        fi;
        take(!again)
    :: pipe > 0 -> take(true)
    :: heard == calls + EVENTS -> break
    od;
    assert(answered == calls)
}

#else /* HOLD */

#define CALLS 4
#define ROOM 2
byte tail, head; /* of the calls: shown, popped */
byte answers;    /* shown; that ring has room for all */
bit fresh; /* the bridge's ticket is odd, and nobody has rung for it */
byte bell;

active proctype bridge()
{
    byte at;
    do
    :: at == CALLS -> break
    :: at < CALLS && tail > at -> at++; head = at; answers++
    :: at < CALLS && tail == at ->
        fresh = 1;
        if
        ::  tail == at -> (bell > 0)
        :: else
        fi;
        atomic { fresh = 0; bell = 0 }
    od
}

inline show_held()
{
    if
    :: tail != at ->
        tail = at;
        if
        :: atomic { FLAW != SHOW_SILENT && fresh -> fresh = 0; bell = 1 }
        :: else
        fi
    :: else
    fi
}

active proctype client()
{
    byte at, taken;
    do
    :: at < CALLS && at - head < ROOM -> at++ /* pushed, and held */
    :: at < CALLS && at - head == ROOM ->
        /* BUSY: its caller drains, which is waiting for an answer when none is there */
        if
        :: FLAW != FULL_KEEPS -> show_held()
        :: else
        fi;
        (taken < answers);
        taken = answers
    :: at > 0 -> /* a look: show, then take what is there */
        if
        :: FLAW != LOOK_KEEPS -> show_held()
        :: else
        fi;
        taken = answers;
        if /* nothing more to send: it waits for the rest */
        :: at == CALLS && taken < CALLS -> (taken < answers)
        :: else
        fi
    :: taken == CALLS -> break
    od
}

#endif
