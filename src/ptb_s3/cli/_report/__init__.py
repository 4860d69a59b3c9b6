"""Report on one bot's state, as a page of HTML that needs nothing else.

Gathering reads the bucket, once, into the frozen facts of `facts`; everything after that is pure,
the time being one of the facts. So a page is the same whenever it is made of the same facts.

========================================================= =======================================
module                                                    task
========================================================= =======================================
`gathering`, `opening`                                    read the bucket: headers, or whole heads
`facts`                                                   what was read
`events`, `verdict`                                       judge it
`timeline`, `growth`, `churn`, `writers`, `keys`, `life`  one section of the page each
`scale`, `figure`                                         time as places on a line, drawings
`page`, `rendering`, `visible`                            the page, and its HTML
========================================================= =======================================
"""
