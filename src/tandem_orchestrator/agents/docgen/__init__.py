"""The agent ``docgen``: scan a code base, analyse its structure, write its pages.

It knows source trees and how to describe them. It never knows which layer runs an action, what
a plan or a journal is, or who asked. It hands on plain values: dicts, lists, str, bytes, int.
"""
