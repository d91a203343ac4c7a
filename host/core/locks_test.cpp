// SPDX-License-Identifier: Apache-2.0
#include "host/core/locks.hpp"

#include <gtest/gtest.h>

namespace gantry::core {
namespace {

TEST(KeyLocks, ASecondOperationOnAKeyIsAborted) {
  KeyLocks locks;
  const auto first = locks.TryLock({"volume a"});
  ASSERT_TRUE(first);
  const auto second = locks.TryLock({"volume a"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, base::Code::kAborted);
  EXPECT_EQ(second.error().message, "an operation is pending for volume a");
  EXPECT_TRUE(locks.TryLock({"volume b"}));
}

TEST(KeyLocks, TakesAllKeysOrNone) {
  KeyLocks locks;
  const auto first = locks.TryLock({"b"});
  EXPECT_FALSE(locks.TryLock({"a", "b", "c"}));
  EXPECT_EQ(locks.HeldCount(), 1U);
}

TEST(KeyLocks, AreFreeAgainWhenTheLastHolderIsGone) {
  KeyLocks locks;
  auto lock = locks.TryLock({"a", "a"});
  ASSERT_TRUE(lock);
  auto copy = *lock;
  lock->reset();
  EXPECT_FALSE(locks.TryLock({"a"}));
  copy.reset();
  EXPECT_TRUE(locks.TryLock({"a"}));
}

}  // namespace
}  // namespace gantry::core
