// SPDX-License-Identifier: Apache-2.0
#include "host/core/paging.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace gantry::core {
namespace {

// Volumes of two backends that a test may change between pages.
class Paging : public ::testing::Test {
 protected:
  base::Result<Page<std::string>> Get(const std::string& token, size_t max) {
    return Collect<std::string>(
        {"a", "b"}, token, max,
        [this](const std::string& backend, const std::string& after, size_t wanted) {
          std::vector<std::string> found;
          for (const auto& handle : volumes_[backend])
            if (handle > after && found.size() < wanted) found.push_back(handle);
          return base::Result<std::vector<std::string>>(found);
        },
        [](const std::string& entry) { return entry; });
  }
  std::vector<std::string> All(size_t max) {
    std::vector<std::string> all;
    std::string token;
    do {
      auto page = Get(token, max);
      EXPECT_TRUE(page);
      all.insert(all.end(), page->entries.begin(), page->entries.end());
      token = page->next_token;
    } while (!token.empty());
    return all;
  }
  std::map<std::string, std::set<std::string>> volumes_{{"a", {"1", "2", "3"}}, {"b", {"4", "5"}}};
};

TEST_F(Paging, GivesEveryEntryOnceWhateverThePageSize) {
  const std::vector<std::string> expected{"1", "2", "3", "4", "5"};
  for (size_t max = 1; max <= 6; ++max) EXPECT_EQ(All(max), expected) << max;
}

TEST_F(Paging, HasNoTokenAfterAPageThatEndsExactly) {
  EXPECT_EQ(Get("", 5)->next_token, "");
  EXPECT_EQ(Get("", 3)->next_token, "a:3");
}

TEST_F(Paging, GoesOnAfterTheLastEntryWasDeleted) {
  const auto first = Get("", 2);
  volumes_["a"].erase("2");
  EXPECT_EQ(Get(first->next_token, 2)->entries, (std::vector<std::string>{"3", "4"}));
}

TEST_F(Paging, AForeignTokenIsAborted) {
  EXPECT_EQ(Get("invalid-token", 2).error().code, base::Code::kAborted);
}

}  // namespace
}  // namespace gantry::core
