/* doorbell.pml - sleeping and waking over one ring, with explicit store buffers.
 *
 * A producer sends FRAMES frames through a ring that holds ROOM of them and sleeps where there is
 * no room; a consumer takes them and sleeps where there is nothing. Each wakes the other as bell.h
 * says. Who sleeps for ever ends in a state that is no valid end, which the search reports: a lost
 * wake-up and a deadlock are the same thing here.
 *
 * Memory. A store goes into its thread's FIFO buffer and reaches memory whenever the buffer's own
 * process gets round to it. A seq_cst load waits until the seq_cst stores before it have reached
 * memory; any other load does not wait. That is less than x86 promises (there the store waits),
 * and what ARMv8's stlr and ldar promise, so what holds here holds on both. A thread loads only
 * what the other one stores, so a load never has to look into its own buffer.
 *
 * WEAK names one of the orders that ring.c and bell.c ask for, and takes it away. Each is needed.
 */
#ifndef FRAMES
#define FRAMES 4
#endif
#ifndef ROOM
#define ROOM 2
#endif
#define PIPE 1 /* bytes that a pipe holds: the smallest coalesces most */

#define NOTHING 0
#define PUBLISH_STORE 1 /* tdi_ring_publish(): the tail */
#define RELEASE_STORE 2 /* tdi_ring_release(): the head */
#define ARM_STORE 3     /* tdi_bell_arm(): the ticket */
#define WAITING_LOAD 4  /* tdi_ring_waiting(): the tail */
#define HEAD_LOAD 5     /* look_at_head(): the head */
#define RING_LOAD 6     /* tdi_bell_ring(): the ticket */
#define ALL_ORDERS 7    /* release and acquire everywhere */
#define LOOK_FIRST 8    /* no order, but the code: look, then show the ticket */
#define RING_FIRST 9    /* the code: look at the ticket, then publish */
#define RUNG_ANY 10     /* the code: once rung, any odd ticket counts as rung */
#define TICKET_STAYS 11 /* the code: arming an odd ticket again shows no new one */
#ifndef WEAK
#define WEAK NOTHING
#endif
#define SC(order) (WEAK != (order) && WEAK != ALL_ORDERS)

mtype = { TAIL, HEAD, SLEEP, SPACE };
byte tail, head;   /* memory: frames published, frames released */
byte sleep, space; /* memory: tickets of the consumer and of the producer */
byte bell_of_consumer, bell_of_producer; /* bytes in the two pipes */

chan buffer_p = [3] of { mtype, byte, bit };
chan buffer_c = [3] of { mtype, byte, bit };
byte unseen_p, unseen_c; /* seq_cst stores that still wait in a buffer */

inline reach(buffer, unseen)
{
    buffer ? place, value, ordered;
    if
    :: place == TAIL -> tail = value
    :: place == HEAD -> head = value
    :: place == SLEEP -> sleep = value
    :: place == SPACE -> space = value
    fi;
    unseen = unseen - ordered;
    place = 0; value = 0; ordered = 0
}

active proctype memory_p() { mtype place; byte value; bit ordered;
end: do :: atomic { nempty(buffer_p) -> reach(buffer_p, unseen_p) } od }
active proctype memory_c() { mtype place; byte value; bit ordered;
end: do :: atomic { nempty(buffer_c) -> reach(buffer_c, unseen_c) } od }

#define STORE(buffer, unseen, order, place, value)                            \
    atomic { nfull(buffer) -> buffer ! place, value, SC(order);               \
             unseen = unseen + SC(order) }
#define PLAIN_STORE(buffer, place, value) buffer ! place, value, 0
#define LOAD(unseen, order, into, from) atomic { (!SC(order) || unseen == 0) -> into = from }

/* One byte for each new odd ticket; a full pipe is readable already. */
inline ring(unseen, ticket, rung, bell)
{
    LOAD(unseen, RING_LOAD, seen, ticket);
    ring_seen(rung, bell)
}

inline ring_seen(rung, bell)
{
    atomic {
        if
        :: seen % 2 == 1 && seen != rung && !(WEAK == RUNG_ANY && rung != 0) ->
            assert(seen > rung); /* never twice for one ticket */
            rung = seen;
            if
            :: bell < PIPE -> bell++
            :: else
            fi
        :: else
        fi;
        seen = 0
    }
}

inline next_odd(ticket)
{
    if
    :: ticket % 2 == 0 -> ticket = ticket + 1
    :: else -> ticket = ticket + (WEAK == TICKET_STAYS -> 0 : 2)
    fi;
    assert(ticket < 255)
}

active proctype producer()
{
    byte at, head_seen, ticket, rung, seen;
    do
    :: at == FRAMES -> break
    :: at < FRAMES ->
        if
        :: at - head_seen < ROOM -> skip
        :: else ->
            LOAD(unseen_p, HEAD_LOAD, head_seen, head);
            do
            :: at - head_seen < ROOM -> break
            :: else -> /* as tdi_client_pump() and tdi_client_wait(): ask for room, look, sleep */
                if
                :: WEAK == LOOK_FIRST -> LOAD(unseen_p, HEAD_LOAD, head_seen, head)
                :: else
                fi;
                atomic { next_odd(ticket) };
                STORE(buffer_p, unseen_p, ARM_STORE, SPACE, ticket);
                if
                :: WEAK != LOOK_FIRST -> LOAD(unseen_p, HEAD_LOAD, head_seen, head)
                :: else
                fi;
                if
                :: at - head_seen < ROOM -> break
                :: else -> atomic { bell_of_producer > 0 -> bell_of_producer = 0 }
                fi;
                LOAD(unseen_p, HEAD_LOAD, head_seen, head)
            od;
            if
            :: ticket % 2 == 1 ->
                ticket = ticket + 1;
                PLAIN_STORE(buffer_p, SPACE, ticket)
            :: else
            fi
        fi;
        at++;
        if
        :: WEAK == RING_FIRST ->
            LOAD(unseen_p, RING_LOAD, seen, sleep);
            STORE(buffer_p, unseen_p, PUBLISH_STORE, TAIL, at);
            ring_seen(rung, bell_of_consumer)
        :: else ->
            STORE(buffer_p, unseen_p, PUBLISH_STORE, TAIL, at);
            ring(unseen_p, sleep, rung, bell_of_consumer)
        fi
    od
}

active proctype consumer()
{
    byte at, tail_seen, ticket, rung, seen;
    do
    :: at == FRAMES -> break
    :: at < FRAMES ->
        /* look_at_tail() only acquires: what it misses, the look after arming finds */
        tail_seen = tail;
        if
        :: tail_seen > at ->
            at++;
            STORE(buffer_c, unseen_c, RELEASE_STORE, HEAD, at);
            ring(unseen_c, space, rung, bell_of_producer)
        :: else ->
            if
            :: WEAK == LOOK_FIRST -> LOAD(unseen_c, WAITING_LOAD, tail_seen, tail)
            :: else
            fi;
            atomic { next_odd(ticket) };
            STORE(buffer_c, unseen_c, ARM_STORE, SLEEP, ticket);
            if
            :: WEAK != LOOK_FIRST -> LOAD(unseen_c, WAITING_LOAD, tail_seen, tail)
            :: else
            fi;
            if
            :: tail_seen == at -> atomic { bell_of_consumer > 0 -> bell_of_consumer = 0 }
            :: else
            fi;
            if /* the client disarms when it wakes; woken by something else, it arms once more */
            :: ticket = ticket + 1; PLAIN_STORE(buffer_c, SLEEP, ticket)
            :: skip
            fi
        fi
    od
}
