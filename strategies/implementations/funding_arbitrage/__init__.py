"""Long where funding is lower, short where it is higher, the same base quantity on both.

`config` (what a human may set); `scanner` (what is quoted); `entry`, `sizing`, `exits` (the rules, pure); `entering`, `holding`, `books`
(what is done about them); `recorder` (decisions with all their inputs, and how to judge them again); `strategy` (the cycle).
"""
