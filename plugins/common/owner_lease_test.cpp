// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/owner_lease.hpp"

#include <gtest/gtest.h>

#include "plugins/common/testing/fake_storage.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

constexpr std::string_view kName = ".owner";

class OwnerLeaseTest : public ::testing::Test {
 protected:
  OwnerLease Lease(FakeStorage& storage) { return {storage, world.root(), kName}; }

  World world;
  FakeStorage a{world};
  FakeStorage b{world};
};

TEST_F(OwnerLeaseTest, IsHadByOneOnly) {
  auto one = Lease(a);
  auto other = Lease(b);
  EXPECT_TRUE(*one.Take("a"));
  EXPECT_FALSE(*other.Take("b"));
  EXPECT_TRUE(*one.Renew());
}

TEST_F(OwnerLeaseTest, IsFreeOnceReleased) {
  auto one = Lease(a);
  auto other = Lease(b);
  ASSERT_TRUE(*one.Take("a"));
  one.Release();
  EXPECT_TRUE(*other.Take("b"));
}

TEST_F(OwnerLeaseTest, LivesAsLongAsItIsRenewed) {
  auto one = Lease(a);
  auto other = Lease(b);
  ASSERT_TRUE(*one.Take("a"));
  for (int i = 0; i < 3; ++i) {
    world.Advance(kOwnerLeaseMs - 1);
    ASSERT_TRUE(*one.Renew());
    EXPECT_FALSE(*other.Take("b" + std::to_string(i)));
  }
  world.Advance(kOwnerLeaseMs + 1);
  EXPECT_TRUE(*other.Take("b"));
}

TEST_F(OwnerLeaseTest, IsLostToWhoeverTookItOver) {
  auto one = Lease(a);
  auto other = Lease(b);
  ASSERT_TRUE(*one.Take("a"));
  world.Advance(kOwnerLeaseMs + 1);
  ASSERT_TRUE(*other.Take("b"));
  EXPECT_FALSE(*one.Renew());
  one.Release();  // no longer his to release
  EXPECT_TRUE(*other.Renew());
  auto third = Lease(a);
  EXPECT_FALSE(*third.Take("c"));
}

}  // namespace
}  // namespace gantry::plugin
