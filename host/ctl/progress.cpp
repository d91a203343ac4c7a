// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/progress.hpp"

#include "host/ctl/table.hpp"

namespace gantry::ctl {

void Progress::Show(const admin::SwapEvent& event) {
  if (event.has_result() && !event.result().error_code().empty()) {
    is_rolled_back_ = true;
    session_.err << "gantryctl: " << prefix_ << event.result().error_code() << ": "
                 << Clean(event.result().error()) << "\n";
  }
  if (session_.json) return;
  if (event.has_step())
    session_.out << prefix_ << event.step().when() << " " << event.step().name() << " "
                 << Clean(event.step().detail()) << std::endl;
  if (event.has_result() && event.result().error_code().empty())
    session_.out << prefix_ << "done: " << Clean(event.result().to().name()) << " "
                 << Clean(event.result().to().version()) << " ("
                 << Short(event.result().to().sha256()) << ")" << std::endl;
}

}  // namespace gantry::ctl
