/* SGD with momentum as a program that stepgauge can check: JSON lines in, JSON lines out (docs/targets.md).

   cc -O2 -ffp-contract=off -o sgd sgd.c -lm && stepgauge check "program:./sgd" */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *p, *g, *buffer;    /* all parameters end to end */
static size_t *ends, parts, room; /* where each of them ends */
static int begun;                 /* whether the buffer holds a gradient */

/* Where the value of a key begins. */
static char *value(char *line, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    char *at = strstr(line, quoted);
    return at ? strchr(at, ':') + 1 : NULL;
}

/* What is not given stays at its default. */
static double number(char *line, const char *key, double otherwise) {
    char *at = value(line, key);
    return at ? strtod(at, NULL) : otherwise;
}

/* A list of lists of numbers, end to end; numbers that JSON does not have come as strings. */
static void read_lists(char *at, double *into, int measure) {
    size_t n = 0, part = 0;
    for (int depth = 0; *at; at++) {
        if (*at == '[') depth++;
        else if (*at == ']') {
            if (--depth == 0) break;
            if (measure) ends[part] = n;
            part++;
        } else if (strchr("-0123456789NI", *at)) {
            char *end;
            into[n++] = strtod(at, &end);
            at = end - 1;
        }
    }
    if (measure) parts = part;
}

static void print_number(double x) {
    if (isnan(x)) printf("\"NaN\"");
    else if (isinf(x)) printf(x > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else printf("%.17g", x);
}

static void make_room(size_t bytes) { /* a number takes a character or more */
    if (bytes <= room) return;
    room = bytes;
    p = realloc(p, room * sizeof *p);
    g = realloc(g, room * sizeof *g);
    buffer = realloc(buffer, room * sizeof *buffer);
    ends = realloc(ends, room * sizeof *ends);
}

static void step(double lr, double momentum) {
    size_t n = parts ? ends[parts - 1] : 0;
    for (size_t i = 0; i < n; i++) {
        buffer[i] = begun ? momentum * buffer[i] + g[i] : g[i];
        p[i] -= lr * (momentum ? buffer[i] : g[i]);
    }
    begun = 1;
}

int main(void) {
    char *line = NULL;
    size_t length = 0;
    while (getline(&line, &length, stdin) > 0) {
        long id = (long)number(line, "id", 0);
        make_room(length);
        if (strstr(line, "\"describe\"")) {
            printf("{\"id\": %ld, \"hyperparameters\": {\"lr\": 0.001, \"momentum\": 0.0}}\n", id);
        } else if (strstr(line, "\"begin\"")) {
            read_lists(value(line, "params"), p, 1);
            begun = 0;
            printf("{\"id\": %ld}\n", id);
        } else {
            read_lists(value(line, "grads"), g, 0);
            step(number(line, "lr", 0.001), number(line, "momentum", 0));
            printf("{\"id\": %ld, \"params\": [", id);
            for (size_t k = 0, i = 0; k < parts; k++) {
                printf(k ? ", [" : "[");
                for (size_t first = i; i < ends[k]; i++) {
                    if (i > first) printf(", ");
                    print_number(p[i]);
                }
                printf("]");
            }
            printf("]}\n");
        }
        fflush(stdout);
    }
    return 0;
}
