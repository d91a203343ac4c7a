// SPDX-License-Identifier: Apache-2.0
// LUKS on a real disk, as far as this machine's kernel goes: without device-mapper a header can be
// made and nothing opened, which tests/vm does.
#include "host/block/luks.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "host/block/content.hpp"
#include "host/block/device.hpp"
#include "host/block/program.hpp"
#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;

constexpr const char* kUuid = "0f0c4f86-1de7-4b4c-8a6e-3b8b1f5f0a14";
constexpr const char* kMapping = "gantry-block-test";

base::UniqueFd Key(const std::string& passphrase) {
  int fds[2];
  if (pipe(fds) != 0) throw std::runtime_error("pipe");
  base::UniqueFd from(fds[0]);
  const base::UniqueFd to(fds[1]);
  (void)!write(to.get(), passphrase.data(), passphrase.size());
  return from;
}

TEST(Luks, AHeaderIsMadeAndOnlyItsPassphraseOpensIt) {
  const TestDisk disk(64 * kMiB);
  const auto made = FormatLuks(disk.Open().get(), kUuid, Key("correct").get(), Soon());
  ASSERT_TRUE(made) << made.error().message;
  const auto content = Examine(disk.Open().get());
  ASSERT_TRUE(content);
  EXPECT_EQ(content->kind, Content::Kind::kOther);
  EXPECT_EQ(content->type, "crypto_LUKS");
  EXPECT_EQ(content->uuid, kUuid);
  const auto wrong = OpenLuks(disk.Open().get(), kMapping, false, Key("wrong").get(), Soon());
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message.find("wrong"), std::string::npos);
  EXPECT_TRUE(MappingOf(kMapping).empty());
  // The key slot itself, which needs nothing of the kernel.
  EXPECT_TRUE(MustRun({"cryptsetup", "luksDump", disk.path()}, Soon()));
}

TEST(Luks, AMappingIsOpenedGrownAndClosedWhereTheKernelHasDeviceMapper) {
  const TestDisk disk(64 * kMiB);
  ASSERT_TRUE(FormatLuks(disk.Open().get(), kUuid, Key("correct").get(), Soon()));
  const auto opened = OpenLuks(disk.Open().get(), kMapping, false, Key("correct").get(), Soon());
  if (!std::filesystem::exists("/sys/class/misc/device-mapper")) {
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("device-mapper"), std::string::npos)
        << opened.error().message;
    return;
  }
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string mapping = MappingOf(kMapping);
  ASSERT_FALSE(mapping.empty());
  const auto bytes = [&] {
    const base::UniqueFd fd(open(("/dev/" + mapping).c_str(), O_RDONLY | O_CLOEXEC));
    return *DeviceBytes(fd.get());
  };
  const uint64_t before = bytes();
  disk.ResizeFile(128 * kMiB);
  ASSERT_TRUE(RefreshLoop(disk.loop()));
  const auto grown = GrowLuks(kMapping, Soon());
  EXPECT_TRUE(grown) << grown.error().message;
  EXPECT_EQ(bytes(), before + 64 * kMiB);
  EXPECT_TRUE(CloseLuks(kMapping, Soon()));
  EXPECT_TRUE(MappingOf(kMapping).empty());
}

TEST(Luks, WhatIsNotOpenIsClosed) { EXPECT_TRUE(CloseLuks(kMapping, Soon())); }

}  // namespace
}  // namespace gantry::block
