/* ring.pml - the byte ring of ring.c, in units of 64 bytes: PADs, cursors, wrap, hostile cursors.
 *
 * A ring of ROOM units carries frames of one to SPAN_MAX units. Cursors count for ever in the code
 * and modulo LAPS laps here; a header's seq is its cursor. The producer copies a frame in unit by
 * unit, header last, and publishes now or later; the consumer looks at the header, copies unit by
 * unit, and releases now or later. Stores reach memory in order (that the tail is released and
 * acquired is doorbell.pml's and the thread sanitizer's business; TORN_PUBLISH shows what it costs
 * to miss).
 *
 * Honest ends: every frame arrives once, whole, in order, and nobody waits for ever.
 * Under HOSTILE_PRODUCER each look at the tail or a header finds any value whatever, under
 * HOSTILE_CONSUMER each look at the head: the honest end must stay inside the ring, never believe
 * that more than a ring is free or full, and finish each look.
 *
 * FLAW names one rule of ring.c and takes it away.
 */
#define FRAMES 4
#define ROOM 8
#define SPAN_MAX 3
#define LAPS 4
#define CYCLE (ROOM * LAPS) /* the modulus of a cursor */

#define NONE 0
#define TORN_PUBLISH 1    /* the tail is shown before the frame is copied in */
#define EARLY_RELEASE 2   /* the head is given back before the frame is copied out */
#define PAD_FORGOTTEN 3   /* the PAD is not counted when room is looked for */
#define STALE_HEAD 4      /* a full ring is believed without a fresh look at the head */
#define NO_TAIL_CLAMP 5   /* any tail is believed */
#define NO_HEAD_CLAMP 6   /* any head is believed */
#define NO_SPAN_CHECK 7   /* a span may reach past what is published, or past the lap */
#define DOUBLE_FETCH 8    /* the header is checked in shared memory, and read again for use */
#define PAD_ANYWHERE 9    /* a PAD may be as long as a lap */
#ifndef FLAW
#define FLAW NONE
#endif

mtype = { UNWRITTEN, FRAME, PAD, BODY };
typedef unit { mtype kind; byte seq; byte span; byte id };
unit data[ROOM];
byte tail, head;
bool over; /* the session ended with TD_CORRUPT */

#define AHEAD(to, from) (((to) - (from) + CYCLE) % CYCLE)
#define PLACE(cursor) ((cursor) % ROOM)

inline put(cursor, what, length, which)
{
    d_step {
        data[PLACE(cursor)].kind = what;
        data[PLACE(cursor)].seq = cursor;
        data[PLACE(cursor)].span = length;
        data[PLACE(cursor)].id = which
    }
}

inline look_at_head()
{
    atomic {
#ifdef HOSTILE_CONSUMER
        select(head : 0 .. CYCLE - 1);
#endif
        if
        :: FLAW != NO_HEAD_CLAMP && AHEAD(head, head_seen) > AHEAD(published, head_seen) ->
            over = true
        :: else -> head_seen = head
        fi;
        assert(over || AHEAD(at, head_seen) <= ROOM); /* what is free is never negative */
        assert(over || AHEAD(published, head_seen) <= ROOM)
    }
}

inline publish()
{
    atomic { published = at; tail = at }
}

proctype producer()
{
    byte at, published, head_seen, id, span, rest, need, i, from;
    do
    :: over || id == FRAMES -> break
    :: !over && id < FRAMES ->
        atomic {
            if
            :: span = 1
            :: span = 2
            :: span = 3
            fi;
            rest = ROOM - PLACE(at);
            need = (span > rest && FLAW != PAD_FORGOTTEN -> rest + span : span)
        }
        do
        :: over || need <= ROOM - AHEAD(at, head_seen) -> break
        :: !over && need > ROOM - AHEAD(at, head_seen) ->
            if
            :: FLAW == STALE_HEAD -> skip
            :: else -> look_at_head()
            fi;
            if
            :: !over && need > ROOM - AHEAD(at, head_seen) ->
                publish(); /* TD_ERR_FULL: show what there is, come back when the head moved */
#ifdef HOSTILE_CONSUMER
                break /* or give up */
#else
                (head != head_seen && FLAW != STALE_HEAD)
#endif
            :: else
            fi
        od;
        if
        :: over || need > ROOM - AHEAD(at, head_seen) -> break
        :: else
        fi;
        if
        :: span > rest ->
            put(at, PAD, rest, id);
            at = (at + rest) % CYCLE
        :: else
        fi;
        from = at;
        if
        :: FLAW == TORN_PUBLISH -> at = (at + span) % CYCLE; publish()
        :: else
        fi;
        i = 1;
        do
        :: i < span ->
            assert(PLACE(from) + i < ROOM); /* a frame never wraps */
            put(from + i, BODY, 0, id);
            i++
        :: else -> break
        od;
        put(from, FRAME, span, id);
        at = (from + span) % CYCLE;
        if
        :: publish()
        :: skip /* later, with the next */
        fi;
        atomic { id++; i = 0; span = 0; rest = 0; need = 0; from = 0 }
    od;
    if
    :: !over -> publish()
    :: else
    fi
}

inline look_at_tail()
{
    atomic {
#ifdef HOSTILE_PRODUCER
        select(tail : 0 .. CYCLE - 1);
#endif
        if
        :: FLAW != NO_TAIL_CLAMP && AHEAD(tail, at) > ROOM -> over = true
        :: else -> tail_seen = tail
        fi
    }
}

inline fetch()
{
    atomic {
#ifdef HOSTILE_PRODUCER
        if
        :: kind = FRAME
        :: kind = PAD
        fi;
        select(span : 0 .. ROOM);
        good_seq = true
#else
        kind = data[PLACE(at)].kind;
        span = data[PLACE(at)].span;
        good_seq = (data[PLACE(at)].seq == at)
#endif
    }
}

proctype consumer(bool honest_peer)
{
    byte at, tail_seen, expected, span, rest, i, pads, stepped;
    mtype kind;
    bool good_seq;
end:
    do
    :: over -> break
    :: honest_peer && expected == FRAMES -> break
    :: !over && !(honest_peer && expected == FRAMES) ->
        if
        :: tail_seen == at ->
            head = at; /* tdi_ring_release() at the end of each batch */
        end_waiting:
#ifndef HOSTILE_PRODUCER
            (tail != at);
#endif
            look_at_tail()
        :: else
        fi;
        if
        :: over || tail_seen == at -> goto next
        :: else
        fi;
        assert(AHEAD(tail_seen, at) <= ROOM);
        fetch();
        rest = ROOM - PLACE(at);
        /* tdi_frame_check(), and the checks of tdi_ring_peek() */
        if
        :: kind == UNWRITTEN || kind == BODY || !good_seq || span == 0 ||
               (kind == FRAME && span > SPAN_MAX) ->
            over = true
        :: kind == PAD && (span != rest || (FLAW != NO_SPAN_CHECK && rest > AHEAD(tail_seen, at)) ||
               (FLAW != PAD_ANYWHERE && rest >= SPAN_MAX)) ->
            over = true
        :: kind == FRAME && FLAW != NO_SPAN_CHECK && (span > rest || span > AHEAD(tail_seen, at)) ->
            over = true
        :: else
        fi;
        if
        :: over -> goto next
        :: kind == PAD && !over ->
            at = (at + rest) % CYCLE;
            pads++;
            assert(pads < 2); /* a look comes to an end */
            goto again
        :: else
        fi;
        pads = 0;
        if
        :: FLAW == DOUBLE_FETCH -> fetch()
        :: else
        fi;
        if
        :: FLAW == EARLY_RELEASE -> head = (at + span) % CYCLE
        :: else
        fi;
        i = 0;
        do
        :: i < span ->
            assert(PLACE(at) + i < ROOM && i < AHEAD(tail_seen, at)); /* reads only what is there */
            /* honest: the body is the one whose header we hold, as its CRC would say */
            assert(!honest_peer || data[PLACE(at) + i].id == expected);
            i++
        :: else -> break
        od;
        at = (at + span) % CYCLE;
        if
        :: FLAW != EARLY_RELEASE -> head = at
        :: skip /* later, with the next */
        fi;
        expected = (honest_peer -> expected + 1 : 0);
    next:
        pads = 0;
    again:
        atomic { i = 0; span = 0; rest = 0; kind = 0; good_seq = false };
        assert(!(over && honest_peer)) /* honest ends never find each other corrupt */
    od
}

init
{
    atomic {
#ifndef HOSTILE_PRODUCER
        run producer();
#endif
#ifdef HOSTILE_CONSUMER
        skip
#elif defined HOSTILE_PRODUCER
        run consumer(false)
#else
        run consumer(true)
#endif
    }
}
