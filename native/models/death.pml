/* death.pml - a bridge that dies, a session that ends, and who may use which memory afterwards.
 *
 * Part BRIDGE_DIES: a client pushes CALLS calls; the bridge pops, stores its head, starts, and shows
 * the completion, and may be killed between any two steps. What it stored before reaches memory (the
 * processor survives), and the socket's end is seen after that. The client then drains what was
 * shown and judges the rest by the head, as tdi_client_fate(): NOT_STARTED is never said of a call
 * that started, UNKNOWN never of one whose completion was shown.
 *
 * Part SESSION_ENDS: the bridge ends the session of a peer that still lives and is in the middle of a
 * push (it broke a rule, or it is stopped and wakes up later), and admits another peer. Whatever the
 * first one still writes, the second one's messages arrive, all of them, and nothing else does.
 */
#define CALLS 3

#define NONE 0
#define START_BEFORE_HEAD 1  /* the head is stored after the call was performed */
#define FATE_BEFORE_DRAIN 2  /* the rest is judged without a last look at the ring */
#define END_BEFORE_MEMORY 3  /* the socket's end is seen before the head is */
#define RECLAIM_IN_PLACE 4   /* the new session gets the old memory with the generation raised */
#define RECLAIM_ON_SILENCE 5 /* the old memory is given away once its writer seems to do nothing */
#ifndef FLAW
#define FLAW NONE
#endif

#ifdef BRIDGE_DIES

byte tail, head, shown;   /* memory */
chan buffer = [3] of { bit, byte }; /* the bridge's stores: 0 head, 1 completions shown */
bool started[CALLS];
bool dead, socket_ended;

active proctype memory()
{
    bit which; byte value;
end:
    do
    :: atomic { nempty(buffer) -> buffer ? which, value;
                if
                :: which == 0 -> head = value
                :: else -> shown = value
                fi; which = 0; value = 0 }
    od
}

active proctype kernel()
{
    (dead && (empty(buffer) || FLAW == END_BEFORE_MEMORY)) -> socket_ended = true
}

active proctype bridge()
{
    byte at;
    {
        do
        :: at < CALLS && tail > at ->
            if
            :: FLAW == START_BEFORE_HEAD -> started[at] = true; at++; buffer ! 0, at
            :: else -> at++; buffer ! 0, at; started[at - 1] = true
            fi;
            buffer ! 1, at
        od
    } unless { dead }
}

active proctype killer() { dead = true }

active proctype client()
{
    byte i, completed;
    do
    :: i < CALLS && !socket_ended -> i++; tail = i
    :: completed < shown -> completed++
    :: socket_ended -> break
    od;
    do
    :: FLAW != FATE_BEFORE_DRAIN && completed < shown -> completed++
    :: else -> break
    od;
    i = completed;
    do
    :: i < CALLS ->
        if
        :: head >= i + 1 -> assert(i >= shown) /* UNKNOWN: no answer of it lies there unread */
        :: else -> assert(!started[i])         /* NOT_STARTED */
        fi;
        i++
    :: else -> break
    od
}

#else /* SESSION_ENDS */

#define MESSAGES 2
#define OF_FIRST 1
#define OF_SECOND 2
typedef region { byte owner; byte cells[MESSAGES]; byte generation; byte tail };
region memory[2];
bool first_ended, second_admitted, first_looks_idle;
byte place; /* of the second session */
byte got;

inline push(where, mine, whose)
{
    byte k;
    k = 0;
    do
    :: k < MESSAGES ->
        /* even a writer that checks its generation first may sleep after the check */
        if
        :: memory[where].generation != mine -> break
        :: else
        fi;
        memory[where].cells[k] = whose;
        k++;
        memory[where].tail = k
    :: else -> break
    od
}

active proctype first()
{
    push(0, 0, OF_FIRST)
}

active proctype bridge()
{
    byte at;
    /* ends the first session at any moment, whatever its peer is doing */
    first_ended = true;
    if
    :: FLAW == RECLAIM_IN_PLACE ->
        atomic { memory[0].generation = 1; memory[0].tail = 0; place = 0; second_admitted = true }
    :: FLAW == RECLAIM_ON_SILENCE -> /* the peer's tail did not move for a while */
        at = memory[0].tail;
        (memory[0].tail == at);
        atomic { memory[0].generation = 1; memory[0].tail = 0; place = 0; second_admitted = true };
        at = 0
    :: FLAW != RECLAIM_IN_PLACE && FLAW != RECLAIM_ON_SILENCE ->
        atomic { memory[1].generation = 1; place = 1; second_admitted = true }
    fi;
    do
    :: at < MESSAGES && memory[place].tail > at ->
        assert(memory[place].cells[at] == OF_SECOND); /* nobody else's, and not half of it */
        at++;
        got++
    :: at == MESSAGES -> break
    od
}

active proctype second()
{
    (second_admitted);
    push(place, 1, OF_SECOND);
    (got == MESSAGES) /* none is lost */
}

#endif
