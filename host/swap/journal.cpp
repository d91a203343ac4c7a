// SPDX-License-Identifier: Apache-2.0
#include "host/swap/journal.hpp"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/base/file.hpp"

namespace gantry::swap {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

int64_t ToMs(core::WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

// A clock has a range, which a damaged number need not keep.
core::WallTime FromMs(int64_t ms) {
  constexpr auto kMax =
      std::chrono::floor<std::chrono::milliseconds>(core::WallTime::duration::max());
  return core::WallTime(std::clamp(std::chrono::milliseconds(ms), -kMax, kMax));
}

json Write(const Release& release) {
  return {{"plugin", release.plugin},
          {"sha256", release.sha256},
          {"config", release.config_json},
          {"record_format", release.record_format},
          {"context_format", release.context_format},
          {"name", release.plugin_name},
          {"version", release.plugin_version}};
}

Release ReadRelease(const json& from) {
  return {from.at("plugin"),         from.at("sha256"), from.at("config"), from.at("record_format"),
          from.at("context_format"), from.at("name"),   from.at("version")};
}

json Write(const core::ReleaseStatus& release) {
  return {{"plugin", release.plugin},
          {"name", release.plugin_name},
          {"version", release.plugin_version},
          {"sha256", release.sha256}};
}

core::ReleaseStatus ReadStatus(const json& from) {
  return {from.at("plugin"), from.at("name"), from.at("version"), from.at("sha256")};
}

json Write(const core::SwapStatus& swap) {
  json steps = json::array();
  for (const auto& step : swap.steps)
    steps.push_back({{"name", step.name}, {"when_ms", ToMs(step.when)}, {"detail", step.detail}});
  json to{{"id", swap.id},
          {"from", Write(swap.from)},
          {"to", Write(swap.to)},
          {"steps", steps},
          {"is_over", swap.is_over}};
  if (swap.error)
    to["error"] = {{"code", static_cast<int>(swap.error->code)}, {"message", swap.error->message}};
  return to;
}

core::SwapStatus ReadSwap(const json& from) {
  core::SwapStatus swap;
  swap.id = from.at("id");
  swap.from = ReadStatus(from.at("from"));
  swap.to = ReadStatus(from.at("to"));
  for (const auto& step : from.at("steps"))
    swap.steps.push_back({step.at("name"), FromMs(step.at("when_ms")), step.at("detail")});
  swap.is_over = from.at("is_over");
  if (from.contains("error"))
    swap.error = base::Error{static_cast<base::Code>(from.at("error").at("code").get<int>()),
                             from.at("error").at("message")};
  return swap;
}

}  // namespace

base::Result<JournalEntry> DecodeJournal(std::string_view text, const std::string& where) {
  try {
    const json from = json::parse(text);
    if (from.at("journal") != kVersion)
      return base::Fail(base::Code::kDataLoss, where + ": journal: " + from.at("journal").dump() +
                                                   ": expected " + std::to_string(kVersion));
    JournalEntry entry;
    entry.active = ReadRelease(from.at("active"));
    if (from.contains("standby")) entry.standby = ReadRelease(from.at("standby"));
    entry.file_sha256 = from.at("file_sha256");
    entry.config_sha256 = from.at("config_sha256");
    entry.swap = ReadSwap(from.at("swap"));
    return entry;
  } catch (const json::exception& error) {
    return base::Fail(base::Code::kDataLoss, where + ": " + error.what());
  }
}

std::string EncodeJournal(const JournalEntry& entry) {
  json to{{"journal", kVersion},
          {"active", Write(entry.active)},
          {"file_sha256", entry.file_sha256},
          {"config_sha256", entry.config_sha256},
          {"swap", Write(entry.swap)}};
  if (entry.standby) to["standby"] = Write(*entry.standby);
  // Text that is not UTF-8, for which dump() throws, is replaced.
  return to.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

base::Result<std::optional<JournalEntry>> Journal::Load() const {
  if (access(file_.c_str(), F_OK) != 0 && errno == ENOENT) return std::optional<JournalEntry>{};
  GANTRY_TRY_ASSIGN(const auto text, base::ReadFile(file_, kJournalBytesMax));
  GANTRY_TRY_ASSIGN(auto entry, DecodeJournal(text, file_.string()));
  return std::optional<JournalEntry>(std::move(entry));
}

base::Status Journal::Save(const JournalEntry& entry) const {
  return base::WriteFileDurably(file_, EncodeJournal(entry), 0600);
}

}  // namespace gantry::swap
