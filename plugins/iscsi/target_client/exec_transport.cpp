// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target_client/exec_transport.hpp"

#include <array>
#include <utility>

namespace gantry::iscsi::target_client {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr size_t kComplaintBytesMax = 1024;

}  // namespace

Result<std::string> ExecTransport::Exchange(const std::string& line, const Asked& asked) {
  const std::array<gantry_str, 2> words = {ToStr(helper_), ToStr(word_)};
  gantry_exec_request request{};
  request.size = sizeof request;
  request.argv = {words.data(), words.size()};
  request.input = {line.data(), line.size()};
  request.deadline_ns =
      asked.deadline == TimePoint::max() ? INT64_MAX : asked.deadline.time_since_epoch().count();
  gantry_exec_result result{};
  result.size = sizeof result;
  // One byte more than a line may have, so that its newline fits.
  std::string output(target::kLineBytesMax, '\0');
  std::string complaint(kComplaintBytesMax, '\0');
  const gantry_code ran = api_.run(api_.ctx, asked.call, &request, output.data(), output.size(),
                                   complaint.data(), complaint.size(), &result);
  if (ran != GANTRY_OK)
    return Fail(ran, program_ + ": the host could not run helper \"" + helper_ +
                         "\": expected a grant of it with the word " + word_);
  output.resize(std::min(output.size(), result.output_length));
  complaint.resize(std::min(complaint.size(), result.error_length));
  if (output.ends_with('\n')) output.pop_back();
  if (!output.empty() && output.find('\n') == std::string::npos) return output;
  while (complaint.ends_with('\n')) complaint.pop_back();
  return Fail(code::kUnavailable, program_ + " ended with status " +
                                      std::to_string(result.exit_status) + " and no reply" +
                                      (complaint.empty() ? "" : ": " + complaint));
}

}  // namespace gantry::iscsi::target_client
