// SPDX-License-Identifier: Apache-2.0
// config check, config reload.
#include "host/ctl/command.hpp"
#include "host/ctl/progress.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

constexpr uint32_t kCheckSeconds = 60;
constexpr uint32_t kReloadSeconds = 900;

void ShowPlan(const admin::ConfigPlan& plan, std::ostream& out) {
  out << Clean(plan.file()) << ": good, " << plan.changes_size() << " changes\n";
  if (plan.changes_size() == 0) return;
  Table table({"KEY", "CHANGE", "BROUGHT ABOUT BY"});
  for (const auto& change : plan.changes())
    table.Add({change.key(), change.what(), change.by_swap() ? "a swap" : "a restart of gantryd"});
  table.Print(out);
}

admin::ConfigRequest RequestFor(const std::string& file) {
  admin::ConfigRequest request;
  if (!file.empty()) request.set_file(std::filesystem::absolute(file));
  return request;
}

int Check(Session& session, const std::string& file) {
  admin::ConfigPlan plan;
  return session.Unary(&admin::Admin::Stub::CheckConfig, RequestFor(file), plan, kCheckSeconds,
                       [&] {
                         ShowPlan(plan, session.out);
                         return kDone;
                       });
}

int Reload(Session& session, const std::string& file) {
  int code = kDone;
  const int ended = session.Stream(&admin::Admin::Stub::ReloadConfig, RequestFor(file),
                                   kReloadSeconds, [&](const admin::ReloadEvent& event) {
                                     if (event.has_plan() && !session.json)
                                       ShowPlan(event.plan(), session.out);
                                     if (!event.has_swap()) return;
                                     Progress progress(session, event.swap().backend() + ": ");
                                     progress.Show(event.swap().event());
                                     code = progress.Conclude(code);
                                   });
  return ended == kDone ? code : ended;
}

}  // namespace

void AddConfigCommands(Commands& commands) {
  const auto file = std::make_shared<std::string>();
  auto* group = commands.AddGroup("config", "check a configuration, or bring it into service");
  auto* check =
      commands.AddBelow(*group, "check", "is it good, and what would it change? Changes nothing",
                        [file](Session& session) { return Check(session, *file); });
  auto* reload = commands.AddBelow(*group, "reload",
                                   "bring it into service, by a swap of every backend that changed",
                                   [file](Session& session) { return Reload(session, *file); });
  for (auto* command : {check, reload})
    command->add_option("file", *file, "default: the one that gantryd was started with")
        ->check(CLI::ExistingFile);
}

}  // namespace gantry::ctl
