// SPDX-License-Identifier: Apache-2.0
// plugin inspect: needs no gantryd.
#include <system_error>

#include "host/base/file.hpp"
#include "host/ctl/command.hpp"
#include "host/ctl/inspector.hpp"
#include "host/ctl/table.hpp"

namespace gantry::ctl {
namespace {

constexpr size_t kConfigBytesMax = 1024 * 1024;

template <class List>
std::string Join(const List& list) {
  std::string joined;
  for (const auto& item : list) joined += (joined.empty() ? "" : " ") + Clean(item);
  return joined.empty() ? "none" : joined;
}

void Show(const admin::PluginReport& report, std::ostream& out) {
  out << "file            " << Clean(report.file()) << "\n"
      << "size            " << FormatBytes(report.size_bytes()) << "\n"
      << "sha256          " << report.sha256() << "\n";
  if (!report.loads()) {
    out << "does not load   " << Clean(report.error()) << "\n";
  } else {
    out << "plugin          " << Clean(report.name()) << " " << Clean(report.version()) << "\n"
        << "ABI             " << report.abi() << "\n"
        << "CSI             " << Clean(report.csi_min()) << " to " << Clean(report.csi_max())
        << "\n"
        << "threads         " << report.thread_model() << ", at most " << report.calls_max()
        << " calls\n"
        << "access modes    " << Join(report.access_modes()) << "\n"
        << "access types    " << Join(report.access_types()) << "\n"
        << "topology keys   " << Join(report.topology_keys()) << "\n"
        << "asks the host   " << Join(report.needs()) << "\n"
        << "record format   " << report.record_format_min() << " to " << report.record_format_max()
        << "\n"
        << "context format  " << report.context_format_min() << " to "
        << report.context_format_max() << "\n";
    if (!report.capabilities_error().empty())
      out << "capabilities    not known without an instance (--config): "
          << Clean(report.capabilities_error()) << "\n";
    else
      out << "capabilities    " << Join(report.capabilities()) << "\n";
    if (!report.config_schema().empty())
      out << "config schema   " << CleanLines(report.config_schema()) << "\n";
  }
  for (const auto& line : report.log()) out << "log             " << Clean(line) << "\n";
}

}  // namespace

void AddPluginCommands(Commands& commands) {
  struct Options {
    std::string plugin;
    std::string config;
    std::filesystem::path libexec;
  };
  const auto options = std::make_shared<Options>();
  std::error_code ignored;
  options->libexec = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  auto* group = commands.AddGroup("plugin", "look at a plugin before it is used");
  auto* inspect = commands.AddBelow(
      *group, "inspect",
      "load it in a throw-away process and say what it is; exit 1 when it does not load",
      [options](Session& session) {
        InspectOptions inspection;
        inspection.plugin = std::filesystem::absolute(options->plugin);
        inspection.worker = options->libexec / "gantry-worker";
        if (session.timeout_seconds != 0)
          inspection.timeout = std::chrono::seconds(session.timeout_seconds);
        if (!options->config.empty()) {
          const auto text = base::ReadFile(options->config, kConfigBytesMax);
          if (!text)
            return session.Fail(
                {base::Code::kInvalidArgument, "--config: " + text.error().message});
          inspection.config_json = *text;
        }
        const auto report = InspectPlugin(inspection);
        if (!report) return session.Fail(report.error());
        if (session.json)
          session.PrintJson(*report);
        else
          Show(*report, session.out);
        return report->loads() ? kDone : kFailed;
      });
  inspect->add_option("plugin", options->plugin, "the .so")->required()->check(CLI::ExistingFile);
  inspect
      ->add_option("--config", options->config,
                   "a configuration as a JSON file, for plugins that make no instance without")
      ->check(CLI::ExistingFile);
  inspect->add_option("--libexec", options->libexec, "the folder of gantry-worker")
      ->capture_default_str();
}

}  // namespace gantry::ctl
