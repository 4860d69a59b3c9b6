"""Transfer: other persistences' files, in and out.

Rule: nobody's code runs, in either direction. A file is written whole or not at all.

Begin with `maps`, PTB's five maps as entities. `pickle_files` and `json_files` are the two forms
that they have in files, and `files` reads and writes those.
"""
