#include "wire/frame.h"

#include "base/test.h"

static tdi_frame sound(void)
{
    tdi_frame frame = {.kind = TDI_KIND_CALL, .lane = 3, .call_id = tdi_call_id(5, 9)};
    tdi_frame_seal(&frame, 77, 0);
    return frame;
}

static void a_sealed_frame_passes(void)
{
    const tdi_frame frame = sound();
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_OK);
    CHECK_EQ(tdi_call_slot(frame.call_id), 5);
    CHECK_EQ(tdi_call_generation(frame.call_id), 9);
}

/* Each rule is broken under a correct header CRC, so that the rule itself must refuse. */
static void each_rule_refuses_by_itself(void)
{
    tdi_frame frame = sound();
    CHECK_EQ(tdi_frame_check(&frame, 78, 4096), TD_CORRUPT); /* seq */
    frame.kind = 0;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.kind = 10;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.flags = 32;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.lane = 4;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.ext_units = 33;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.body_bytes = 4096;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.body_bytes = UINT32_MAX;
    tdi_frame_seal(&frame, 77, 0);
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
    frame = sound(), frame.call_id ^= 1; /* CRC */
    CHECK_EQ(tdi_frame_check(&frame, 77, 4096), TD_CORRUPT);
}

/* Each field has bytes of its own, so that one in the wrong place shows. */
static void a_written_header_is_the_sealed_one(void)
{
    tdi_frame frame;
    uint8_t written[TDI_FRAME_BYTES];
    for (size_t i = 0; i < sizeof frame; i++)
        ((uint8_t *)&frame)[i] = (uint8_t)(0x81 + i * 3);
    const tdi_frame before = frame;
    tdi_frame_write(written, &frame, 0xFEDCBA98u, 0x89ABCDEFu);
    CHECK(memcmp(&frame, &before, sizeof frame) == 0);
    tdi_frame_seal(&frame, 0xFEDCBA98u, 0x89ABCDEFu);
    CHECK(memcmp(written, &frame, sizeof frame) == 0);
}

static void spans_are_rounded_to_64_and_do_not_overflow(void)
{
    tdi_frame frame = {.ext_units = 0, .body_bytes = 0};
    CHECK_EQ(tdi_frame_span(&frame), 64);
    frame.body_bytes = 1;
    CHECK_EQ(tdi_frame_span(&frame), 128);
    frame.body_bytes = 64;
    CHECK_EQ(tdi_frame_span(&frame), 128);
    frame.ext_units = 1;
    CHECK_EQ(tdi_frame_span(&frame), 192);
    frame.ext_units = 255;
    frame.body_bytes = UINT32_MAX;
    CHECK_EQ(tdi_frame_span(&frame), ((UINT64_C(64) + 2040 + UINT32_MAX + 63) & ~UINT64_C(63)));
}

int main(void)
{
    RUN(a_sealed_frame_passes);
    RUN(each_rule_refuses_by_itself);
    RUN(a_written_header_is_the_sealed_one);
    RUN(spans_are_rounded_to_64_and_do_not_overflow);
    return TEST_RESULT;
}
