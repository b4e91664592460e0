/* supervise.h - `agent_bridge supervise`: the parent of a bridge and its hosts.
 *
 * Threads: main.  Memory: the process's.  Errors: sentences on stderr, exit code 1 or 2.
 */
#ifndef TDI_SUPERVISE_H
#define TDI_SUPERVISE_H

int tdi_supervise_main(int argc, char **argv);

#endif /* TDI_SUPERVISE_H */
