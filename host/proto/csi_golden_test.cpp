// SPDX-License-Identifier: Apache-2.0
// csi-1.12.0.golden is the standard's interface written down once; the compiled one must equal it.
// The golden file changes only when the CSI version does, and then under a new name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "csi/v1/csi.pb.h"
#include "host/base/file.hpp"
#include "host/proto/descriptor_lines.hpp"

namespace gantry::proto {
namespace {

constexpr size_t kGoldenBytesMax = 1 << 20;

Lines ReadLines(const char* path) {
  const auto text = base::ReadFile(path, kGoldenBytesMax);
  EXPECT_TRUE(text.has_value()) << text.error().message;
  std::istringstream input(text.value_or(""));
  Lines lines;
  for (std::string line; std::getline(input, line);) lines.insert(line);
  return lines;
}

TEST(CsiProto, IsVersion1_12_0OnTheWire) {
  const auto golden = ReadLines(GANTRY_CSI_GOLDEN);
  const auto compiled = LinesOf(*csi::v1::Volume::descriptor()->file(), Detail::kFull);
  EXPECT_THAT(Differences(golden, compiled), testing::IsEmpty());
}

TEST(DescriptorLines, NameWhatIsMissingAndWhatIsNew) {
  EXPECT_THAT(Differences({"a", "b"}, {"b", "c"}), testing::ElementsAre("- a", "+ c"));
}

TEST(DescriptorLines, TellNumberTypeOneofAndMarks) {
  const auto secrets = LinesOf(*csi::v1::NodeExpandVolumeRequest::descriptor(), Detail::kFull);
  EXPECT_TRUE(secrets.contains(
      "field csi.v1.NodeExpandVolumeRequest.secrets 6 map<string,string> secret alpha"));
  const auto wire = LinesOf(*csi::v1::VolumeCapability::descriptor(), Detail::kWire);
  EXPECT_TRUE(
      wire.contains("field csi.v1.VolumeCapability.mount 2 "
                    "csi.v1.VolumeCapability.MountVolume oneof=access_type"));
  EXPECT_TRUE(
      wire.contains("value csi.v1.VolumeCapability.AccessMode.Mode."
                    "SINGLE_NODE_MULTI_WRITER 7"));
}

}  // namespace
}  // namespace gantry::proto
