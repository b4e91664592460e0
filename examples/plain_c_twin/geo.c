/* geo.c - a library as you may have one already: it knows nothing of Tandem. */
#include <stddef.h>

double area(double w, double h)
{
    return w * h;
}

/* Somebody optimised the divisions away, and lost the last number. */
double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++)
        sum += x[i];
    return sum * (1.0 / (double)n);
}
