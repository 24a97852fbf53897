// Fields of /proc/PID/status and /proc/PID/stat (proc_pid_status(5), proc_pid_stat(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure {

// The last word of the field: of "NSpid" the number that the process has in its innermost PID namespace. The error
// of read_file when the process is gone; kUnsupported: no such field.
Result<std::string> process_status_word(pid_t pid, std::string_view field);

// The inode of the PID namespace that it is in; namespaces(7).
Result<std::uint32_t> pid_namespace_of(pid_t pid);

struct ProcessStat {
  char state = '?';
  // It has begun to end: nothing of it runs any more, but as long as another one holds it up it is not gone.
  bool ending = false;
  // A signal ends the whole of it, whether or not it has got a processor since (fs/proc/array.c, do_task_stat(); seen with
  // Linux 6.18; a kernel that does not say so says `ending`, later). Not told to who may not trace it.
  bool killed = false;
  std::uint64_t start_ticks = 0;  // clock ticks since boot: with it a process number is unique
};
// kNotFound: it is gone; else why its state could not be read.
Result<ProcessStat> process_stat(pid_t pid);
// Nothing of it will run any more: it is gone, was killed, or each of its threads is ending. One whose first thread alone has
// ended is not, nor one of which nothing could be read.
bool is_ending(pid_t pid);
// The name in it may hold spaces and parentheses. kCorrupt.
Result<ProcessStat> parse_process_stat(std::string_view text);

}  // namespace perdure
