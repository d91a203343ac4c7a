// SPDX-License-Identifier: Apache-2.0
// Two sides measured in turns, so that a noisy machine is noisy to both: medians, spread, ratios.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace gantry::bench {

inline double Percentile(std::vector<double> values, double fraction) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<size_t>(last * fraction + 0.5)];
}

// "median 12.3 (10th 11.0, 90th 15.2)"
inline std::string Spread(const std::vector<double>& values) {
  char text[128];
  std::snprintf(text, sizeof text, "median %.1f (10th %.1f, 90th %.1f)", Percentile(values, 0.5),
                Percentile(values, 0.1), Percentile(values, 0.9));
  return text;
}

inline void Goal(const char* what, double value, const char* sign, double goal, const char* unit) {
  const bool met = sign[0] == '<' ? value <= goal : value >= goal;
  std::printf("%-58s %9.2f %s   goal %s %.2f %s   %s\n", what, value, unit, sign, goal, unit,
              met ? "met" : "MISSED");
}

}  // namespace gantry::bench
