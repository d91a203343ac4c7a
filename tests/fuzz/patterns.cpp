// SPDX-License-Identifier: Apache-2.0
// Grants are patterns, and what they are held against comes from a plugin or a pod: servers, mount
// options, arguments of helper programs. And ids, keys and page tokens, which come from a CO.
//
// Input: the pattern's kind in one character, the pattern and the text it is held against, each on
// a line.
#include "host/core/argument_pattern.hpp"
#include "host/core/ids.hpp"
#include "host/core/option_pattern.hpp"
#include "host/core/paging.hpp"
#include "host/core/server_pattern.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

bool HoldsParent(std::string_view path) {
  return ("/" + std::string(path) + "/").find("/../") != std::string::npos;
}

void Server(std::string_view pattern, std::string_view text) {
  const bool is_pattern = core::CheckServerPattern(pattern).has_value();
  const auto server = core::ParseServer(text);
  if (!server) return;
  GANTRY_FUZZ_EXPECT(!server->text.empty());
  const auto again = core::ParseServer(server->text);
  GANTRY_FUZZ_EXPECT(
      again && again->text == server->text && again->is_address == server->is_address,
      server->text);
  const bool matches = core::MatchesServer(pattern, *server);
  GANTRY_FUZZ_EXPECT(is_pattern || !matches);
  GANTRY_FUZZ_EXPECT(core::MatchesServer("*", *server));
  // A server is a pattern for itself alone.
  if (core::CheckServerPattern(server->text))
    GANTRY_FUZZ_EXPECT(core::MatchesServer(server->text, *server), server->text);
}

void Option(std::string_view pattern, std::string_view option) {
  const bool matches = core::MatchesOption(pattern, option, /*lists_servers=*/false);
  if (!matches) return;
  GANTRY_FUZZ_EXPECT(core::CheckOptionPattern(pattern).has_value());
  GANTRY_FUZZ_EXPECT(option.find(',') == std::string_view::npos);
  GANTRY_FUZZ_EXPECT(option.find('\0') == std::string_view::npos);
  GANTRY_FUZZ_EXPECT(!HoldsParent(option.substr(option.find('=') + 1)), std::string(option));
}

void Argument(std::string_view text, std::string_view word) {
  const auto pattern = core::ArgumentPattern::Parse(text);
  if (!pattern || !pattern->Matches(word)) return;
  if (text.find('{') == std::string_view::npos) {
    GANTRY_FUZZ_EXPECT(text == word);
    return;
  }
  const auto value = word.substr(text.find('{'));
  GANTRY_FUZZ_EXPECT(word.starts_with(text.substr(0, text.find('{'))));
  GANTRY_FUZZ_EXPECT(!value.empty() && value.find('\0') == std::string_view::npos);
  GANTRY_FUZZ_EXPECT(value.front() != '-', "it would be read as an option");
  GANTRY_FUZZ_EXPECT(!HoldsParent(value), std::string(value));
}

void Ids(std::string_view first, std::string_view second) {
  int forms = 0;
  for (const auto kind : {core::IdKind::kVolume, core::IdKind::kSnapshot, core::IdKind::kGroup}) {
    const auto id = core::ParseId(kind, first);
    if (!id) continue;
    ++forms;
    GANTRY_FUZZ_EXPECT(first.size() <= 128);
    GANTRY_FUZZ_EXPECT(core::FormatId(kind, id->backend, id->handle) == std::string(first));
  }
  GANTRY_FUZZ_EXPECT(forms <= 1, "an id of two kinds");
  if (core::IsBackendName(first) && core::IsHandle(second)) {
    const auto id = core::ParseId(core::IdKind::kSnapshot,
                                  *core::FormatId(core::IdKind::kSnapshot, first, second));
    GANTRY_FUZZ_EXPECT(id && id->backend == first && id->handle == second);
  }
  if (const auto position = core::ParseToken(std::string(first)); position && !first.empty())
    GANTRY_FUZZ_EXPECT(core::FormatToken(*position) == first);
  const auto key = core::MakeKey(core::IdKind::kVolume, first, second);
  GANTRY_FUZZ_EXPECT(core::IsHandle(key) && key.size() == 32);
  // Owner and name are told apart.
  if (!second.empty())
    GANTRY_FUZZ_EXPECT(key != core::MakeKey(core::IdKind::kVolume,
                                            std::string(first) + std::string(second.substr(0, 1)),
                                            second.substr(1)));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.Line();
  const auto first = input.Line();
  const auto second = input.Line();
  if (kind == "server") Server(first, second);
  if (kind == "option") Option(first, second);
  if (kind == "argument") Argument(first, second);
  if (kind == "id") Ids(first, second);
  return 0;
}
