/* host.h - `agent_bridge host PLUGIN.so`: one plug-in, or one
 * library of plain functions, in a process of its own. What is loaded
 * here is trusted with this process, and with nothing else.
 *
 * Threads: main.  Memory: the process's.  Errors: sentences on stderr, exit code 1 or 2.
 */
#ifndef TDI_HOST_H
#define TDI_HOST_H

int tdi_host_main(int argc, char **argv);

#endif /* TDI_HOST_H */
