/* In place of docgen_scan.c where libcrypto is missing: the agent docgen then has no native
 * action, and calls of it run in Python. */
#include "docgen_scan.h"

const td_action tdi_docgen_actions[] = {{.agent = NULL}};
const size_t tdi_docgen_actions_count = 0;
