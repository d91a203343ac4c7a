// SPDX-License-Identifier: Apache-2.0
#include "host/base/call_scope.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace gantry::base {
namespace {

TEST(CallScope, IsOfItsThreadAndNests) {
  EXPECT_EQ(CallScope::Current().id, "");
  CallScope::NoteBackend("nobody");  // without a scope: nothing
  const CallScope outer({.id = "a"});
  CallScope::NoteBackend("nfs");
  {
    const CallScope inner({.id = "b"});
    EXPECT_EQ(CallScope::Current().id, "b");
    EXPECT_EQ(CallScope::Current().backend, "");
    std::thread([] { EXPECT_EQ(CallScope::Current().id, ""); }).join();
  }
  EXPECT_EQ(CallScope::Current().id, "a");
  EXPECT_EQ(CallScope::Current().backend, "nfs");
}

TEST(CallIds, AreRecognisedAndDiffer) {
  CallIds ids;
  const std::string one = ids.Next();
  EXPECT_NE(one, ids.Next());
  EXPECT_TRUE(IsCallId(one)) << one;
  for (const char* other : {"", "12", "0123456789", "01234567-", "0123456g-1", "01234567-1 "})
    EXPECT_FALSE(IsCallId(other)) << other;
}

}  // namespace
}  // namespace gantry::base
