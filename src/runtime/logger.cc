#include "runtime/logger.h"

#include <sys/stat.h>

#include <format>

#include "io/atomic_file.h"
#include "io/process.h"

namespace perdure::runtime {
namespace {

constexpr int kMaxFiles = 100;
constexpr int kLoggerStdout = 3;  // descriptor numbers in perdure-logger
constexpr int kLoggerStderr = 4;

Result<std::string> pipe_key(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("stat log pipe");
  return std::format("pipe:[{}]", info.st_ino);
}

}  // namespace

Result<LoggerPipes> start_logger(const LoggerOptions& options) {
  if (options.files < 1 || options.files > kMaxFiles || options.file_limit_bytes == 0) {
    return fail(ErrorCode::kInvalid, std::format("logger of '{}': 1 to {} files of at least 1 byte",
                                                 options.log_dir, kMaxFiles));
  }
  PERDURE_TRY(io::make_directories(options.log_dir, 0700));
  PERDURE_ASSIGN(Pipe out, make_pipe());
  PERDURE_ASSIGN(Pipe err, make_pipe());
  LoggerPipes pipes;
  PERDURE_ASSIGN(pipes.stdout_key, pipe_key(out.write_end.get()));
  PERDURE_ASSIGN(pipes.stderr_key, pipe_key(err.write_end.get()));

  io::ProcessOptions process;
  process.inherited = {{out.read_end.get(), kLoggerStdout}, {err.read_end.get(), kLoggerStderr}};
  process.environment = std::vector<std::string>{};
  process.working_directory = "/";  // holds no file system busy
  auto logger = io::ChildProcess::spawn(
      {options.program, options.log_dir, std::to_string(options.file_limit_bytes),
       std::to_string(options.files), std::to_string(kLoggerStdout), std::to_string(kLoggerStderr)},
      process);
  if (!logger) return fail(std::move(logger).error().context("start logger"));
  pipes.logger_pid = logger->release();
  pipes.stdout_write = std::move(out.write_end);
  pipes.stderr_write = std::move(err.write_end);
  return pipes;
}

}  // namespace perdure::runtime
