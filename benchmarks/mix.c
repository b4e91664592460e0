/* The compiled twin of the benchmark redundant.py: the same mixing of numbers, done `times` times
 * over so that it takes as long as Python does once. */
#include <stdint.h>

uint64_t mix(uint64_t seed, uint64_t rounds, uint64_t times);

uint64_t mix(uint64_t seed, uint64_t rounds, uint64_t times)
{
    volatile uint64_t last = 0; /* Without it a compiler may do the work once. */
    for (uint64_t time = 0; time < times; time++) {
        uint64_t x = seed;
        for (uint64_t i = 0; i < rounds; i++)
            x = (x * 1103515245u + 12345u) % 2147483648u;
        last = x;
    }
    return last;
}
