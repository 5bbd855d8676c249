/* The traffic of an Adam step and little else: four arrays read, three written, in place. */

void four_reads_three_writes(float *p, const float *g, float *m, float *v, long n)
{
    for (long i = 0; i < n; i++) {
        m[i] += g[i];
        v[i] += g[i];
        p[i] += m[i] + v[i];
    }
}
