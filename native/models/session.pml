/* session.pml - both rings of one session at once: what waits, who stops reading, who is woken.
 *
 * Part ORCHESTRATOR: a client makes CALLS calls over `up` and takes answers of PIECES frames each
 * from `down`. Where an answer does not fit it waits in the bridge's list, and the bridge reads no
 * further call of this session until the list is empty again (dispatch.c, answer.c, loop.c). The
 * client goes on taking answers while it has no room for its calls.
 *
 * Part AGENT: the bridge makes the calls over `down`, and keeps those that do not fit; the agent
 * answers over `up`, and keeps what does not fit (serve.c). The bridge reads an agent even while
 * calls wait, and an agent takes calls even while answers wait: one of the two would do, with
 * neither both sleep for ever.
 *
 * Nobody sleeps for ever, no frame is lost or out of place, and no list outgrows the credits. Each
 * side sleeps as in bell.h, with one pipe for both of its tickets. All accesses are one after the
 * other here: the orders are doorbell.pml's business.
 */
#ifndef CALLS
#define CALLS 3
#endif
#define SLOTS 2
#define ROOM 1
#define PIECES 2

#define NONE 0
#define CLIENT_BLOCKS 1   /* ORCHESTRATOR: a client without room takes no answers either */
#define SPACE_UNARMED 2   /* the bridge does not ask for room before it sleeps */
#define OVERTAKES 3       /* a new answer is pushed though others wait */
#define PUMP_UNSEEN 4     /* sound: after a last pump that went through the bridge sleeps, its calls unlooked at */
#define SPACE_UNRUNG 5    /* taking frames rings for frames only, never for room */
#define READS_ON 6        /* ORCHESTRATOR: no credits, and read on while answers wait */
#define NEITHER_READS 7   /* AGENT: each side stops reading while what it has to send waits */
#define AGENT_STOPS 8     /* AGENT, sound: the agent stops, the bridge reads on */
#define BRIDGE_STOPS 9    /* AGENT, sound: the bridge stops, the agent reads on */
#ifndef FLAW
#define FLAW NONE
#endif

/* Either ring: frames shown and not yet released. A frame is 2 * (call - 1) + piece. */
chan up = [ROOM] of { byte };
chan down = [ROOM] of { byte };
/* Tickets: odd, and nobody has rung for it. Of the bridge and of the peer. */
bit sleep[2], space[2], pipe[2];
#define BRIDGE 0
#define PEER 1

#define RING(ticket, bell)                            \
    atomic {                                          \
        if                                            \
        :: ticket -> ticket = 0; bell = 1             \
        :: else                                       \
        fi                                            \
    }
#define FRAMES_FOR(whose) RING(sleep[whose], pipe[whose])
#define ROOM_FOR(whose)                               \
    if                                                \
    :: FLAW != SPACE_UNRUNG -> RING(space[whose], pipe[whose]) \
    :: else                                           \
    fi
#define ARM(ticket) ticket = 1
inline disarm(whose) { atomic { sleep[whose] = 0; space[whose] = 0; pipe[whose] = 0 } }

chan list = [CALLS * PIECES] of { byte }; /* what waits with the bridge */

/* Push what waits, while it fits. */
inline pump_list(pumped)
{
    do
    :: (len(list) > 0) && (len(down) < ROOM) ->
        atomic { list ? frame; down ! frame };
        pumped = true;
        FRAMES_FOR(PEER)
    :: (len(list) == 0) || (len(down) == ROOM) -> break
    od
}

inline send(what)
{
    if
    :: ((len(list) == 0) || FLAW == OVERTAKES) && (len(down) < ROOM) -> down ! what; FRAMES_FOR(PEER)
    :: else -> list ! what
    fi
}

#ifndef AGENT

active proctype bridge()
{
    byte frame, call, piece;
    bool work, pumped;
end:
    do
    :: true ->
        /* a round */
        work = false; pumped = false;
        pump_list(pumped);
        do
        :: (len(up) > 0) && ((len(list) == 0) || FLAW == READS_ON) ->
            up ? call;
            work = true;
            ROOM_FOR(PEER);
            piece = 0;
            do
            :: piece < PIECES -> send(PIECES * call + piece); piece++
            :: else -> break
            od;
            assert(len(list) <= SLOTS * PIECES)
        :: else -> break
        od;
        if
        :: work || pumped -> goto round
        :: else
        fi;
        /* arm_all() */
        if
        :: (len(list) > 0) ->
            if
            :: FLAW != SPACE_UNARMED -> ARM(space[BRIDGE])
            :: else
            fi;
            pump_list(pumped)
        :: else
        fi;
        if
        :: pumped && FLAW == PUMP_UNSEEN -> pumped = false /* sleeps, `sleep` as it was */
        :: else ->
            if
            :: (len(list) == 0) -> ARM(sleep[BRIDGE]); work = (len(up) > 0)
            :: else
            fi
        fi;
        if
        :: !work && !pumped ->
        end_sleep:
            (pipe[BRIDGE] > 0)
        :: else
        fi;
        disarm(BRIDGE);
    round:
        frame = 0; call = 0; piece = 0
    od
}

active proctype client()
{
    byte made, answered, frame, expected;
    bool looked;
    do
    :: made < CALLS && (len(up) < ROOM) && (made - answered < SLOTS || FLAW == READS_ON) ->
        up ! made;
        made++;
        FRAMES_FOR(BRIDGE)
    :: made < CALLS && (len(up) == ROOM) && FLAW == CLIENT_BLOCKS ->
        ARM(space[PEER]);
        if
        :: (len(up) == ROOM) -> (pipe[PEER] > 0)
        :: else
        fi;
        disarm(PEER)
    :: (len(down) > 0) && FLAW != READS_ON ->
    take:
        down ? frame;
        ROOM_FOR(BRIDGE);
        /* the second piece follows the first; answers come in the order of the calls here */
        assert(frame == expected);
        expected++;
        answered = expected / PIECES
    :: FLAW == READS_ON && made == CALLS && (len(down) > 0) -> goto take
    :: (len(down) == 0) && (made == CALLS || (len(up) == ROOM) || made - answered == SLOTS) &&
           answered < CALLS && FLAW != CLIENT_BLOCKS ->
        /* nothing to do: as tdi_client_wait(), which also waits for room */
        if
        :: made < CALLS && (len(up) == ROOM) -> ARM(space[PEER])
        :: else
        fi;
        ARM(sleep[PEER]);
        if
        :: (len(down) == 0) && !(made < CALLS && (len(up) < ROOM) && made - answered < SLOTS) ->
            (pipe[PEER] > 0)
        :: else
        fi;
        disarm(PEER)
    :: FLAW == CLIENT_BLOCKS && (len(down) == 0) && (made == CALLS || made - answered == SLOTS) &&
           answered < CALLS ->
        ARM(sleep[PEER]);
        if
        :: (len(down) == 0) -> (pipe[PEER] > 0)
        :: else
        fi;
        disarm(PEER)
    :: answered == CALLS -> break
    od
}

#else /* AGENT */

#define BRIDGE_READS (FLAW != NEITHER_READS && FLAW != BRIDGE_STOPS || (len(list) == 0))
#define AGENT_READS (FLAW != NEITHER_READS && FLAW != AGENT_STOPS || (len(kept) == 0))
chan kept = [SLOTS * PIECES] of { byte }; /* answers that wait with the agent */

inline answer(what)
{
    if
    :: (len(kept) == 0) && (len(up) < ROOM) -> up ! what; FRAMES_FOR(BRIDGE)
    :: else -> kept ! what
    fi
}

active proctype bridge()
{
    byte frame, made, expected;
    bool work, pumped;
    do
    :: expected == PIECES * CALLS -> break
    :: else ->
        work = false; pumped = false;
        pump_list(pumped);
        do /* callers: as many calls as there are credits */
        :: made < CALLS && made - expected / PIECES < SLOTS ->
            send(PIECES * made);
            send(PIECES * made + 1);
            made++;
            work = true
        :: else -> break
        od;
        do
        :: (len(up) > 0) && BRIDGE_READS ->
            up ? frame;
            work = true;
            ROOM_FOR(PEER);
            assert(frame == expected);
            expected++
        :: else -> break
        od;
        if
        :: work || pumped || expected == PIECES * CALLS -> goto round
        :: else
        fi;
        if
        :: (len(list) > 0) ->
            if
            :: FLAW != SPACE_UNARMED -> ARM(space[BRIDGE])
            :: else
            fi;
            pump_list(pumped)
        :: else
        fi;
        if
        :: BRIDGE_READS -> ARM(sleep[BRIDGE]); work = (len(up) > 0)
        :: else
        fi;
        if
        :: !work && !pumped -> (pipe[BRIDGE] > 0)
        :: else
        fi;
        disarm(BRIDGE);
    round:
        frame = 0
    od
}

active proctype agent()
{
    byte frame;
    bool work;
end:
    do
    :: true ->
        work = false;
        do
        :: (len(kept) > 0) && (len(up) < ROOM) ->
            atomic { kept ? frame; up ! frame };
            work = true;
            FRAMES_FOR(BRIDGE)
        :: (len(kept) == 0) || (len(up) == ROOM) -> break
        od;
        do
        :: (len(down) > 0) && AGENT_READS ->
            down ? frame;
            work = true;
            ROOM_FOR(BRIDGE);
            /* answered once it is whole, in as many pieces */
            if
            :: frame % PIECES == PIECES - 1 -> answer(frame - 1); answer(frame)
            :: else
            fi
        :: else -> break
        od;
        if
        :: work -> goto round
        :: else
        fi;
        if
        :: (len(kept) > 0) -> ARM(space[PEER]); work = (len(up) < ROOM)
        :: else
        fi;
        if
        :: AGENT_READS -> ARM(sleep[PEER]); work = work || (len(down) > 0)
        :: else
        fi;
        if
        :: !work ->
        end_sleep:
            (pipe[PEER] > 0)
        :: else
        fi;
        disarm(PEER);
    round:
        frame = 0
    od
}

#endif
