// SPDX-License-Identifier: Apache-2.0
#include "host/worker/job_mode.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>

#include "gantry/gantry.h"
#include "host/base/file.hpp"
#include "host/wire/job_reply.hpp"
#include "host/worker/extensions.hpp"
#include "host/worker/load.hpp"
#include "host/worker/plugin_text.hpp"
#include "host/worker/worker.hpp"

namespace gantry::worker {
namespace {

struct Job {
  wire::LogPipe log;
  std::string output;
  bool is_too_much = false;
};

base::Result<std::string> ReadInput(int socket) {
  std::string input;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t n = read(socket, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read the job's input");
    if (n == 0) return input;
    input.append(buffer.data(), static_cast<size_t>(n));
    if (input.size() > GANTRY_JOB_INPUT_BYTES_MAX)
      return base::Fail(base::Code::kInvalidArgument, "the job's input is too long");
  }
}

const void* NoExtension(void*, const char*) noexcept { return nullptr; }

void Log(void* ctx, gantry_call, int32_t level, gantry_str message) noexcept {
  static_cast<Job*>(ctx)->log.Write(wire::ToLogLevel(level),
                                    ToView(message, wire::kLogTextBytesMax));
}

int32_t Write(void* ctx, gantry_bytes bytes) noexcept {
  Job& job = *static_cast<Job*>(ctx);
  if (bytes.len == 0) return 1;
  job.is_too_much = job.is_too_much || bytes.ptr == nullptr ||
                    bytes.len > GANTRY_JOB_OUTPUT_BYTES_MAX - job.output.size();
  if (job.is_too_much) return 0;
  job.output.append(static_cast<const char*>(bytes.ptr), bytes.len);
  return 1;
}

gantry_code Run(const Options& options, const std::string& input, Job& job) {
  const auto plugin = LoadPlugin(options.plugin);
  if (!plugin) {
    job.log.Write(wire::LogLevel::kError, plugin.error().message);
    return static_cast<gantry_code>(plugin.error().code);
  }
  const auto ops = CopyStruct(
      static_cast<const gantry_job_ops*>(plugin->table.extension(nullptr, GANTRY_EXT_JOB)));
  if (ops.run == nullptr) return GANTRY_UNIMPLEMENTED;
  const gantry_host host{sizeof(host), GANTRY_ABI_MINOR, &job, &NoExtension, &Log};
  gantry_job_run run{};
  run.size = sizeof(run);
  run.name = {options.job.data(), options.job.size()};
  run.input = {input.data(), input.size()};
  run.deadline_ns = options.job_deadline_ns;
  run.ctx = &job;
  run.write = &Write;
  const gantry_code code = ops.run(&host, &run);
  return job.is_too_much ? GANTRY_RESOURCE_EXHAUSTED : code;
}

}  // namespace

void RunJobMode(const Options& options, base::UniqueFd socket, wire::LogPipe log) {
  Job job{std::move(log), {}, false};
  // It must not outlive a host that is killed: nobody else would end it.
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  pollfd gone{socket.get(), 0, 0};
  if (poll(&gone, 1, 0) > 0 && (gone.revents & (POLLHUP | POLLERR)) != 0) _exit(kExitHostGone);
  const int flags = fcntl(socket.get(), F_GETFL);
  (void)fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK);
  const auto input = ReadInput(socket.get());
  if (!input) {
    job.log.Write(wire::LogLevel::kError, input.error().message);
    _exit(kExitProtocol);
  }
  wire::JobReply reply{wire::kJobReplyMagic, GANTRY_UNAVAILABLE, 0};
  try {
    reply.code = Run(options, *input, job);
  } catch (const std::exception& e) {
    job.log.Write(wire::LogLevel::kError, std::string("the job threw: ") + e.what());
  } catch (...) {
    job.log.Write(wire::LogLevel::kError, "the job threw");
  }
  if (reply.code != GANTRY_OK) job.output.clear();
  reply.length = job.output.size();
  const std::string_view header(reinterpret_cast<const char*>(&reply), sizeof(reply));
  if (!base::WriteAll(socket.get(), header) || !base::WriteAll(socket.get(), job.output))
    _exit(kExitHostGone);
  job.log.ReportDrops();
  _exit(kExitStopped);
}

}  // namespace gantry::worker
