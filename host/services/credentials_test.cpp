// SPDX-License-Identifier: Apache-2.0
#include "host/services/credentials.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

class CredentialsTest : public ::testing::Test {
 protected:
  CredentialsTest() : file_(temp_.path() / "admin"), files_({{"admin", file_}}) {}
  void Write(const std::string& content) {
    std::ofstream(file_, std::ios::trunc) << content;
    // A clock's tick may be longer than this test.
    const timespec times[2] = {{++tick_, 0}, {tick_, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, file_.c_str(), times, 0), 0);
  }

  base::TempDir temp_;
  std::filesystem::path file_;
  CredentialFiles files_;
  time_t tick_ = 1000;
};

TEST_F(CredentialsTest, ReadsTheWholeFileAndAgainWhenItHasChanged) {
  Write("first\n");
  EXPECT_EQ(files_.Get("admin")->view(), "first\n");
  EXPECT_EQ(files_.Get("admin")->view(), "first\n");
  Write("other\n");
  EXPECT_EQ(files_.Get("admin")->view(), "other\n");
}

TEST_F(CredentialsTest, FollowsASymlinkThatIsSwapped) {
  std::ofstream(temp_.path() / "1") << "one";
  std::ofstream(temp_.path() / "2") << "two";
  std::filesystem::create_symlink("1", file_);
  EXPECT_EQ(files_.Get("admin")->view(), "one");
  std::filesystem::create_symlink("2", temp_.path() / "new");
  std::filesystem::rename(temp_.path() / "new", file_);
  EXPECT_EQ(files_.Get("admin")->view(), "two");
}

TEST_F(CredentialsTest, AFileThatWentIsUnavailableAndNotRemembered) {
  Write("first");
  ASSERT_TRUE(files_.Get("admin"));
  std::filesystem::remove(file_);
  const auto gone = files_.Get("admin");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, base::Code::kUnavailable);
  EXPECT_THAT(gone.error().message, ::testing::HasSubstr(file_.string()));
}

TEST_F(CredentialsTest, RefusesWhatIsTooLargeNotAFileOrNotConfigured) {
  Write(std::string(kCredentialBytesMax, 'x'));
  EXPECT_TRUE(files_.Get("admin"));
  Write(std::string(kCredentialBytesMax + 1, 'x'));
  EXPECT_EQ(files_.Get("admin").error().code, base::Code::kUnavailable);
  std::filesystem::remove(file_);
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  EXPECT_EQ(files_.Get("admin").error().code, base::Code::kUnavailable);
  EXPECT_EQ(files_.Get("other").error().code, base::Code::kNotFound);
}

}  // namespace
}  // namespace gantry::services
