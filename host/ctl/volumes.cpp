// SPDX-License-Identifier: Apache-2.0
// volumes, explain, orphans: what there is, and whether it fits together.
#include <filesystem>

#include "host/ctl/command.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

constexpr uint32_t kListSeconds = 60;
constexpr uint32_t kUpgradeSeconds = 30;

std::string StateOf(const admin::Volume& volume) {
  if (!volume.has_node()) return "";
  const auto& node = volume.node();
  if (!node.staged()) return "stage begun";
  if (!node.staging().is_mounted()) return "staged, not mounted";
  if (!node.staging().fault().empty()) return "does not answer";
  if (node.has_data_path()) return "staged, in user space";
  return "staged";
}

int ListVolumes(Session& session, const admin::ListVolumesRequest& request) {
  Table table({"VOLUME", "BACKEND", "ON THIS NODE", "TARGETS", "SIZE", "CONDITION"});
  std::vector<std::string> errors;
  const int code = session.Stream(
      &admin::Admin::Stub::ListVolumes, request, kListSeconds, [&](const admin::Volume& volume) {
        if (!volume.error().empty()) {
          errors.push_back("backend " + volume.backend() + ": " + Clean(volume.error()));
          return;
        }
        table.Add(
            {volume.id(), volume.backend(), StateOf(volume),
             volume.has_node() ? std::to_string(volume.node().targets_size()) : "",
             volume.is_listed() ? FormatBytes(volume.capacity_bytes()) : "",
             volume.condition() == "abnormal" ? volume.condition_message() : volume.condition()});
      });
  if (code != kDone) return code;
  if (!session.json) table.Print(session.out);
  for (const auto& error : errors) session.err << "gantryctl: not listed: " << error << "\n";
  return errors.empty() ? kDone : kNoAnswer;
}

void ShowMount(const char* what, const admin::Mount& mount, std::ostream& out) {
  out << "  " << what << " " << Clean(mount.path()) << ": ";
  if (!mount.is_mounted())
    out << "not mounted";
  else
    out << Clean(mount.fs_type()) << " of " << Clean(mount.source())
        << (mount.readonly() ? ", read-only" : "");
  if (!mount.fault().empty()) out << ": " << Clean(mount.fault());
  out << "\n";
}

void ShowDataPath(const admin::DataPath& path, std::ostream& out) {
  out << "  data path: ";
  if (path.pid() == 0)
    out << "no process";
  else
    out << "pid " << path.pid() << (path.serving() ? ", serves" : ", does not serve yet");
  out << ", plugin " << Short(path.plugin_sha256()) << ", " << path.take_overs() << " take-overs";
  if (path.standby()) out << ", a standby waits";
  if (!path.fault().empty()) out << ": " << Clean(path.fault());
  out << "\n";
}

void ShowExplanation(const admin::Explanation& e, std::ostream& out) {
  out << Clean(e.id()) << "\n";
  if (e.kind().empty()) {
    out << "  leads nowhere: it is not of the form <backend>:<handle>, and this node has not "
           "staged "
           "it\n";
  } else {
    out << "  " << e.kind() << " " << Clean(e.handle()) << " of backend " << e.backend() << " ("
        << (e.driver().empty() ? "of no driver" : "driver " + e.driver()) << "), found by "
        << e.routed() << "\n";
    if (!e.backend_health().empty()) out << "  the backend is " << e.backend_health() << "\n";
    out << "  the backend says " << e.backend_code()
        << (e.backend_message().empty() ? "" : ": " + Clean(e.backend_message())) << "\n";
  }
  if (e.has_volume()) {
    out << "  size " << FormatBytes(e.volume().capacity_bytes());
    if (!e.volume().condition().empty())
      out << ", condition " << e.volume().condition() << " "
          << Clean(e.volume().condition_message());
    out << "\n";
    for (const auto& node : e.volume().published_node_ids())
      out << "  published to node " << Clean(node) << "\n";
  }
  if (e.has_snapshot())
    out << "  snapshot of " << Clean(e.snapshot().source_volume_handle()) << ", size "
        << FormatBytes(e.snapshot().size_bytes()) << (e.snapshot().ready() ? ", ready" : "")
        << "\n";
  if (e.has_node()) {
    out << "  node state: " << (e.node().staged() ? "staged" : "a stage was begun")
        << (e.node().readonly() ? ", read-only" : "")
        << (e.node().of_this_boot() ? "" : ", before the last reboot") << "\n";
    ShowMount("staging", e.node().staging(), out);
    for (const auto& target : e.node().targets()) ShowMount("target", target, out);
    if (e.node().has_data_path()) ShowDataPath(e.node().data_path(), out);
  } else {
    out << "  this node has no state of it\n";
  }
  for (const auto& task : e.tasks()) out << "  task " << Clean(task) << "\n";
  if (e.log_lines_size() > 0) out << "  in the log:\n";
  for (const auto& line : e.log_lines()) out << "    " << Clean(line) << "\n";
}

int Explain(Session& session, const std::string& id) {
  admin::ExplainRequest request;
  request.set_id(id);
  admin::Explanation explanation;
  return session.Unary(&admin::Admin::Stub::Explain, request, explanation, kListSeconds, [&] {
    ShowExplanation(explanation, session.out);
    return kDone;
  });
}

int Upgrade(Session& session, const std::string& id, const std::string& plugin) {
  admin::UpgradeVolumeRequest request;
  request.set_id(id);
  if (!plugin.empty()) request.set_plugin_file(std::filesystem::absolute(plugin));
  admin::UpgradeVolumeResponse response;
  return session.Unary(&admin::Admin::Stub::UpgradeVolume, request, response, kUpgradeSeconds, [&] {
    session.out << "volume " << Clean(id) << " is served by plugin "
                << Short(response.plugin_sha256()) << "\n";
    return kDone;
  });
}

int FindOrphans(Session& session, bool remove, bool check) {
  admin::FindOrphansRequest request;
  request.set_delete_(remove);
  admin::Orphans found;
  const int code =
      session.Unary(&admin::Admin::Stub::FindOrphans, request, found, kListSeconds, [&] {
        Table table({"KIND", "VOLUME", "PATH", "ACTION", "WHAT"});
        size_t deletable = 0;
        for (const auto& orphan : found.orphans()) {
          if (orphan.deletable() && !orphan.deleted()) ++deletable;
          table.Add({orphan.kind(), orphan.volume_id(), orphan.path(),
                     orphan.deleted()          ? "deleted"
                     : !orphan.error().empty() ? orphan.error()
                     : orphan.deletable()      ? "can be deleted"
                                               : "left",
                     orphan.what()});
        }
        if (table.empty())
          session.out << "no orphans\n";
        else
          table.Print(session.out);
        for (const auto& backend : found.not_searched())
          session.out << "not searched: " << Clean(backend) << "\n";
        if (deletable > 0 && !remove)
          session.out << "nothing was changed; --delete deletes what can be deleted\n";
        return kDone;
      });
  if (code != kDone) return code;
  bool has_failed = false;
  for (const auto& orphan : found.orphans()) has_failed = has_failed || !orphan.error().empty();
  if (has_failed) return kFailed;
  return check && found.orphans_size() > 0 ? kFound : kDone;
}

}  // namespace

void AddVolumeCommands(Commands& commands) {
  struct Options {
    admin::ListVolumesRequest list;
    std::string backend;
    bool controller = false;
    std::string id;
    std::string plugin;
    bool remove = false;
    bool check = false;
  };
  const auto options = std::make_shared<Options>();
  auto* volumes =
      commands.Add("volumes", "what this node has staged, with --controller what backends list",
                   [options](Session& session) {
                     options->list.set_backend(options->backend);
                     options->list.set_controller(options->controller);
                     return ListVolumes(session, options->list);
                   });
  volumes->add_option("--backend", options->backend, "only of this one");
  volumes->add_flag("--controller", options->controller, "ask the backends for their lists too");

  auto* explain =
      commands.Add("explain", "all that is known of a volume, snapshot or group",
                   [options](Session& session) { return Explain(session, options->id); });
  explain->add_option("id", options->id, "as the CO knows it")->required();

  auto* upgrade = commands.Add(
      "upgrade",
      "have a volume's data path load another version of its plugin, and the one before again when "
      "it does not come to serve; --timeout is how long it may take (30 s)",
      [options](Session& session) { return Upgrade(session, options->id, options->plugin); });
  upgrade->add_option("volume", options->id, "a userspace volume of this node")->required();
  upgrade->add_option("--plugin", options->plugin, "the plugin; default: what serves its backend")
      ->check(CLI::ExistingFile);

  auto* orphans = commands.Add("orphans", "what does not fit together: state, mounts, records",
                               [options](Session& session) {
                                 return FindOrphans(session, options->remove, options->check);
                               });
  orphans->add_flag("--delete", options->remove,
                    "delete what is provably ours and of no use; without it nothing is changed");
  orphans->add_flag("--check", options->check, "exit with 5 when there are any");
}

}  // namespace gantry::ctl
