// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/proof.hpp"

#include <cephfs/libcephfs.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace gantry::cephfs {
namespace {

constexpr uint32_t kUid = 1000;
constexpr Begun kStart{5'000'000'100, {}};

struct ceph_statx Found(uint32_t type, int64_t born_ns, uint32_t uid = kUid, uint32_t rdev = 0) {
  struct ceph_statx found {};
  found.stx_mode = static_cast<uint16_t>(type | 0755);
  found.stx_uid = uid;
  found.stx_rdev = rdev;
  found.stx_btime = {born_ns / 1'000'000'000, born_ns % 1'000'000'000};
  return found;
}

TEST(CephProof, AFileIsOursByItsMarkAlone) {
  const Asked asked{S_IFREG, kUid, MarkOf(77)};
  for (const auto& begun : {std::optional<Begun>(kStart), std::optional<Begun>()}) {
    EXPECT_EQ(WhoseIs(Found(S_IFREG, 0, kUid, MarkOf(77)), asked, begun), Whose::kOurs);
    EXPECT_EQ(WhoseIs(Found(S_IFREG, kStart.at_ns, kUid, MarkOf(78)), asked, begun),
              Whose::kTheirs);
    EXPECT_EQ(WhoseIs(Found(S_IFREG, kStart.at_ns, kUid, 0), asked, begun), Whose::kTheirs);
  }
}

TEST(CephProof, AMarkIsNeverThatOfUnmarkedFiles) {
  EXPECT_NE(MarkOf(0), 0U);
  EXPECT_NE(MarkOf(0x0000'0001'0000'0001), 0U);
  EXPECT_NE(MarkOf(1), MarkOf(uint64_t{3} << 32));
}

TEST(CephProof, OfAnythingElseOnlyWhatCannotBeOursIsKnown) {
  const Asked asked{S_IFDIR, kUid};
  EXPECT_EQ(WhoseIs(Found(S_IFDIR, kStart.at_ns - 1), asked, kStart), Whose::kTheirs);
  EXPECT_EQ(WhoseIs(Found(S_IFDIR, kStart.at_ns, kUid + 1), asked, kStart), Whose::kTheirs);
  EXPECT_EQ(WhoseIs(Found(S_IFREG, kStart.at_ns), asked, kStart), Whose::kTheirs);
  EXPECT_EQ(WhoseIs(Found(S_IFDIR, kStart.at_ns), asked, kStart), Whose::kUnknown);
}

TEST(CephProof, WhereNobodyElseIsItIsOurs) {
  EXPECT_EQ(WhoseIs(Found(S_IFDIR, 0), {S_IFDIR, kUid}, std::nullopt), Whose::kOurs);
  EXPECT_EQ(WhoseIs(Found(S_IFREG, 0), {S_IFDIR, kUid}, std::nullopt), Whose::kTheirs);
}

}  // namespace
}  // namespace gantry::cephfs
