// SPDX-License-Identifier: Apache-2.0
#include "host/base/secret.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

namespace gantry::base {
namespace {

template <class T, class = void>
struct IsPrintable : std::false_type {};
template <class T>
struct IsPrintable<T, std::void_t<decltype(std::declval<std::ostream&>() << std::declval<T>())>>
    : std::true_type {};

static_assert(!IsPrintable<SecretBytes>::value);
static_assert(!std::is_copy_constructible_v<SecretBytes>);

TEST(Secret, WipeLeavesNothing) {
  std::string text = "hunter2";
  Wipe({text.data(), text.size()});
  EXPECT_EQ(text, std::string(7, '\0'));
}

TEST(Secret, KeepsItsContentWhenItGrowsOverPages) {
  SecretBytes secret("hunter2");
  secret.Resize(100000);
  EXPECT_EQ(secret.view().substr(0, 7), "hunter2");
  const std::string_view rest = secret.view().substr(7);
  EXPECT_TRUE(std::all_of(rest.begin(), rest.end(), [](char c) { return c == '\0'; }));
}

TEST(Secret, WipesTheBytesItLosesWhenItShrinks) {
  SecretBytes secret("hunter2");
  secret.Resize(2);
  secret.Resize(7);
  EXPECT_EQ(secret.view(), std::string_view("hu\0\0\0\0\0", 7));
}

TEST(Secret, MovingLeavesTheSourceEmpty) {
  SecretBytes first("hunter2");
  SecretBytes second(std::move(first));
  EXPECT_TRUE(first.empty());  // NOLINT: the state after the move is what is tested
  first = std::move(second);
  EXPECT_EQ(first.view(), "hunter2");
  EXPECT_EQ(second.data(), nullptr);  // NOLINT
}

TEST(Secret, IsLockedInMemoryWhenTheLimitAllows) { EXPECT_TRUE(SecretBytes("x").locked()); }

}  // namespace
}  // namespace gantry::base
