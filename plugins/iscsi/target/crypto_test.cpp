// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/crypto.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/base/temp_dir.hpp"
#include "plugins/iscsi/target/fields.hpp"

namespace gantry::iscsi::target {
namespace {

const Chap kChap{"t0-1.user", "geheim-geheim", "t0-1.target", "anders-anders"};

SealKey KeyOf(unsigned char byte) {
  std::array<unsigned char, 32> key;
  key.fill(byte);
  return SealKey(key);
}

TEST(SealTest, OpensWhatWasSealedInTheSameContextOnly) {
  const auto sealed = KeyOf(1).Seal(kChap, "volume a, node b");
  ASSERT_TRUE(sealed);
  EXPECT_EQ(KeyOf(1).Open(*sealed, "volume a, node b").value(), kChap);
  EXPECT_EQ(KeyOf(1).Open(*sealed, "volume a, node c").error().code,
            plugin::code::kFailedPrecondition);
  EXPECT_FALSE(KeyOf(2).Open(*sealed, "volume a, node b"));
}

TEST(SealTest, DamageIsNoticed) {
  std::string sealed = *KeyOf(1).Seal(kChap, "x");
  for (size_t i = 0; i < sealed.size(); i += 7) {
    std::string damaged = sealed;
    damaged[i] = damaged[i] == '0' ? '1' : '0';
    EXPECT_FALSE(KeyOf(1).Open(damaged, "x")) << i;
  }
  for (const char* bad : {"", "00", "zz", "abc"}) EXPECT_FALSE(KeyOf(1).Open(bad, "x"));
}

TEST(SealTest, TheSameIsNeverSealedTheSameWay) {
  EXPECT_NE(*KeyOf(1).Seal(kChap, "x"), *KeyOf(1).Seal(kChap, "x"));
}

TEST(SealTest, TheKeysFileIsItsOwnersAlone) {
  const base::TempDir temp;
  const auto path = temp.path() / "key";
  std::ofstream(path) << std::string(64, '5') << "\n";
  chmod(path.c_str(), 0600);
  EXPECT_TRUE(SealKey::Read(path));
  chmod(path.c_str(), 0640);
  EXPECT_EQ(SealKey::Read(path).error().code, plugin::code::kFailedPrecondition);
  std::ofstream(path) << "short\n";
  chmod(path.c_str(), 0600);
  EXPECT_THAT(SealKey::Read(path).error().message, ::testing::HasSubstr("64 hex digits"));
}

TEST(NamesTest, EveryIncarnationHasNamesOfItsOwn) {
  const std::string a(32, 'a');
  const std::string b(32, 'b');
  EXPECT_EQ(IqnOf("iqn.2026-01.x", "T0_1", a), "iqn.2026-01.x:t0-1.aaaaaaaaaaaa");
  EXPECT_TRUE(IsIqn(IqnOf("iqn.2026-01.x", "T0_1", a)));
  EXPECT_NE(IdentityOf("v", a), IdentityOf("v", b));
  EXPECT_EQ(IdentityOf("v", a), IdentityOf("v", a));
  EXPECT_TRUE(IsNaa(IdentityOf("v", a).naa));
  EXPECT_EQ(IdentityOf("v", a).naa.size(), 36U);
  EXPECT_TRUE(IdentityOf("v", a).naa.starts_with("naa.6001405"));
}

}  // namespace
}  // namespace gantry::iscsi::target
