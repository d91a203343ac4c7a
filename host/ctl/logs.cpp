// SPDX-License-Identifier: Apache-2.0
// logs, tasks: what happened, and what is going on outside any call.
#include "host/ctl/command.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

struct LogOptions {
  std::string backend;
  std::string call;
  uint32_t tail = 200;
  bool follow = false;
  uint32_t for_seconds = kTimeoutSecondsMax;
};

int ReadLog(Session& session, const LogOptions& options) {
  admin::ReadLogRequest request;
  request.set_backend(options.backend);
  request.set_call(options.call);
  request.set_tail(options.tail);
  request.set_follow(options.follow);
  const auto show = [&](const admin::LogLine& line) {
    if (session.json) return;
    if (line.skipped() > 0) session.out << "(" << line.skipped() << " lines were lost here)\n";
    session.out << line.time() << " " << line.level()
                << (line.call().empty() ? " " : " [" + line.call() + "] ") << Clean(line.text())
                << "\n";
  };
  if (!options.follow)
    return session.Stream(&admin::Admin::Stub::ReadLog, request, kTimeoutSecondsDefault, show);
  const auto stub = session.Connect();
  if (!stub) return session.Fail(stub.error());
  const auto context = session.Context(options.for_seconds);
  const auto reader = (*stub)->ReadLog(context.get(), request);
  for (admin::LogLine line; reader->Read(&line); session.out.flush()) {
    if (session.json) session.PrintJson(line);
    show(line);
  }
  const auto status = reader->Finish();
  // Its time is over: that is how following ends.
  const bool is_over = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  return status.ok() || is_over ? kDone : session.Fail(status);
}

int ListTasks(Session& session, const std::string& backend) {
  admin::ListTasksRequest request;
  request.set_backend(backend);
  admin::Tasks tasks;
  return session.Unary(&admin::Admin::Stub::ListTasks, request, tasks, kTimeoutSecondsDefault, [&] {
    Table table({"BACKEND", "KIND", "KEY", "STATE", "PROGRESS", "FAILURES", "LAST ERROR"});
    for (const auto& task : tasks.tasks())
      table.Add({task.backend(), task.kind(), task.key(), task.running() ? "running" : "waiting",
                 task.total() == 0
                     ? ""
                     : std::to_string(task.done()) + "/" + std::to_string(task.total()),
                 std::to_string(task.failures()), task.last_error()});
    if (table.empty())
      session.out << "no tasks\n";
    else
      table.Print(session.out);
    return kDone;
  });
}

}  // namespace

void AddLogCommands(Commands& commands) {
  const auto options = std::make_shared<LogOptions>();
  auto* logs = commands.Add("logs", "the latest lines of gantryd's log and its plugins'",
                            [options](Session& session) { return ReadLog(session, *options); });
  logs->add_option("--backend", options->backend, "only lines about this one");
  logs->add_option("--call", options->call, "only lines of the call with this id");
  logs->add_option("--tail", options->tail, "lines to begin with, before they are filtered")
      ->capture_default_str();
  logs->add_flag("--follow,-f", options->follow, "go on as lines come");
  logs->add_option("--for", options->for_seconds, "seconds to follow")
      ->check(CLI::Range(1U, kTimeoutSecondsMax))
      ->capture_default_str();

  const auto backend = std::make_shared<std::string>();
  auto* tasks = commands.Add("tasks", "work outside any call: trash, copies, repairs",
                             [backend](Session& session) { return ListTasks(session, *backend); });
  tasks->add_option("--backend", *backend, "only of this one");
}

}  // namespace gantry::ctl
