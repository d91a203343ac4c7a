// SPDX-License-Identifier: Apache-2.0
// What the NFS backend stores on a share that others can write to, and what a user writes: records,
// subDir and its templates. What is accepted stays below the share.
//
// Input: "record", "subDir" or "template" on a line, then the text.
#include <algorithm>

#include "plugins/common/record.hpp"
#include "plugins/common/sub_dir.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

void ExpectName(std::string_view name) {
  GANTRY_FUZZ_EXPECT(!name.empty() && name.size() <= plugin::kNameBytesMax, std::string(name));
  GANTRY_FUZZ_EXPECT(name != "." && name != "..", std::string(name));
  GANTRY_FUZZ_EXPECT(
      std::none_of(name.begin(), name.end(),
                   [](unsigned char c) { return c < 0x20 || c == '/' || c == 0x7f; }),
      std::string(name));
}

void ExpectPath(const plugin::Path& path) {
  GANTRY_FUZZ_EXPECT(!path.empty() && path.size() <= plugin::kSubDirDepthMax);
  for (const auto& name : path) {
    ExpectName(name);
    GANTRY_FUZZ_EXPECT(!name.starts_with(plugin::kReservedPrefix) && name != plugin::kClaimName);
  }
}

void Record(std::string_view text) {
  const auto record = plugin::Decode(text, "volumes/x/1");
  if (!record) {
    GANTRY_FUZZ_EXPECT(record.error().code == plugin::code::kDataLoss ||
                       record.error().code == plugin::code::kFailedPrecondition);
    return;
  }
  ExpectPath(record->path);
  // Names of directories that are removed with all they hold.
  for (const auto& attempt : record->attempts) ExpectName(attempt.nonce);
  const auto written = plugin::Encode(*record);
  const auto again = plugin::Decode(written, "volumes/x/1");
  GANTRY_FUZZ_EXPECT(again && plugin::Encode(*again) == written, written);
  GANTRY_FUZZ_EXPECT(again->path == record->path && again->parameters == record->parameters &&
                     again->creating_until == record->creating_until);
}

void SubDir(std::string_view text) {
  const auto path = plugin::ParseSubDir(text);
  if (!path) {
    GANTRY_FUZZ_EXPECT(path.error().code == plugin::code::kInvalidArgument);
    return;
  }
  ExpectPath(*path);
  GANTRY_FUZZ_EXPECT(text.size() <= plugin::kSubDirBytesMax && plugin::Join(*path) == text);
}

void Template(std::string_view text) {
  const auto expanded =
      plugin::ExpandTemplate(text, [](std::string_view variable) -> std::optional<std::string> {
        if (variable == "pvc.metadata.name") return "data";
        if (variable == "slash") return "a/b";
        if (variable == "dots") return "..";
        if (variable == "dollar") return "${slash}";
        return std::nullopt;
      });
  if (!expanded) return;
  // No value brings a directory of its own along.
  GANTRY_FUZZ_EXPECT(std::count(expanded->begin(), expanded->end(), '/') ==
                     std::count(text.begin(), text.end(), '/'));
  SubDir(*expanded);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.Line();
  const auto text = input.Rest();
  if (kind == "record") Record(text);
  if (kind == "subDir") SubDir(text);
  if (kind == "template") Template(text);
  return 0;
}
