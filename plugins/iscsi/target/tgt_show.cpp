// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/tgt_show.hpp"

#include <charconv>
#include <optional>

namespace gantry::iscsi::target {
namespace {

// The next line, without blanks around it; `depth` is how many there were before it.
std::optional<std::string_view> NextLine(std::string_view* text, size_t* depth) {
  if (text->empty()) return std::nullopt;
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  const size_t begin = line.find_first_not_of(' ');
  *depth = begin == std::string_view::npos ? line.size() : begin;
  line.remove_prefix(*depth);
  while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
  return line;
}

// What follows `key`, when the line begins with it.
std::optional<std::string_view> After(std::string_view line, std::string_view key) {
  if (!line.starts_with(key)) return std::nullopt;
  return line.substr(key.size());
}

template <class Number>
Number ToNumber(std::string_view text) {
  Number number{};
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::vector<TgtTarget> ParseTargets(std::string_view text) {
  enum class Part : uint8_t { kOther, kUnits, kAccounts, kAcl };
  constexpr size_t kEntryDepth = 8;
  std::vector<TgtTarget> targets;
  Part part = Part::kOther;
  size_t depth = 0;
  while (const auto line = NextLine(&text, &depth)) {
    if (depth == 0) {
      const auto rest = After(*line, "Target ");
      const size_t colon = rest ? rest->find(": ") : std::string_view::npos;
      if (colon == std::string_view::npos) continue;
      targets.push_back(
          {ToNumber<int32_t>(*rest), std::string(rest->substr(colon + 2)), {}, {}, {}, {}});
      part = Part::kOther;
    } else if (targets.empty()) {
      continue;
    } else if (depth < kEntryDepth) {
      part = *line == "LUN information:"       ? Part::kUnits
             : *line == "Account information:" ? Part::kAccounts
             : *line == "ACL information:"     ? Part::kAcl
                                               : Part::kOther;
    } else if (part == Part::kAccounts) {
      auto& list =
          line->ends_with(" (outgoing)") ? targets.back().outgoing : targets.back().accounts;
      list.emplace_back(line->substr(0, line->find(' ')));
    } else if (part == Part::kAcl) {
      targets.back().acl.emplace_back(*line);
    } else if (part == Part::kUnits) {
      auto& units = targets.back().units;
      if (const auto lun = After(*line, "LUN: "); lun && depth == kEntryDepth)
        units.push_back({ToNumber<uint64_t>(*lun), "", ""});
      else if (const auto path = After(*line, "Backing store path: "); path && !units.empty())
        units.back().path = *path;
      else if (const auto id = After(*line, "SCSI ID: "); id && !units.empty())
        units.back().scsi_id = *id;
    }
  }
  return targets;
}

std::vector<TgtConnection> ParseConnections(std::string_view text) {
  std::vector<TgtConnection> connections;
  uint64_t session = 0;
  size_t depth = 0;
  while (const auto line = NextLine(&text, &depth)) {
    if (const auto number = After(*line, "Session: "))
      session = ToNumber<uint64_t>(*number);
    else if (const auto cid = After(*line, "Connection: "))
      connections.push_back({session, ToNumber<uint32_t>(*cid), ""});
    else if (const auto name = After(*line, "Initiator: "); name && !connections.empty())
      connections.back().initiator = name->substr(0, name->find(' '));
  }
  return connections;
}

}  // namespace gantry::iscsi::target
