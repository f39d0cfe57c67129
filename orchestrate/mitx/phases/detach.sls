old fleet is out:
  mitx_fleet.swapped: []
