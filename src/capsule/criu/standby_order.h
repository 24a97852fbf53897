/* What CriuStandby (criu_standby.h) sends to a CRIU that waits (standby.c), in one message of a
   SOCK_SEQPACKET socket, with descriptors as ancillary data: the directory of the cgroup (v2) in which it is
   to be born, then one for each target. The answer is the pid of the one that was born, or minus errno. */
#pragma once

#include <linux/types.h>

#define PERDURE_STANDBY_VARIABLE "PERDURE_STANDBY_SOCKET" /* its number, in the environment */
#define PERDURE_STANDBY_TARGETS 16

struct perdure_standby_order {
  __u32 count;                            /* of targets */
  __s32 targets[PERDURE_STANDBY_TARGETS]; /* numbers of the descriptors in CRIU */
};
